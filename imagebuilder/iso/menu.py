"""The menus of boot loaders on an installer's ISO image: which there are, and changes of them.

GRUB's are shell (`grub.cfg`), isolinux' a list of labels. Both are changed line by line, so that
what is not asked for stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatch

from imagebuilder.iso.arguments import ArgumentChange

NO_ARGUMENTS = ArgumentChange()


class Loader(Enum):
    """Whose menu it is."""

    GRUB = "grub"
    ISOLINUX = "isolinux"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One choice of a menu: what it shows, and what it starts."""

    title: str
    kernel: str = ""
    initrds: tuple[str, ...] = ()
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuChange:
    """What is to be different in every menu.

    `timeout` in seconds, 0 starts at once. `default` is a number (from 0) or an entry's title.
    `keep` and `drop` are patterns of titles (as in fnmatch), `rename` pairs of titles.
    """

    timeout: int | None = None
    default: str = ""
    arguments: ArgumentChange = NO_ARGUMENTS
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        wanted = (self.default, self.arguments, self.keep, self.drop, self.rename)
        return self.timeout is not None or any(wanted)

    def removes(self, title: str) -> bool:
        """Whether an entry of that title is to go."""
        unwanted = bool(self.keep) and not matches(title, self.keep)
        return unwanted or matches(title, self.drop)

    def titled(self, title: str) -> str:
        """The title after renaming."""
        return dict(self.rename).get(title, title)


GRUB_NAMES = re.compile(r"(^|/)(grub2?|efi|boot)/(.*/)?[^/]+\.(cfg|conf)$", re.IGNORECASE)
ISOLINUX_NAMES = re.compile(r"(^|/)(isolinux|syslinux)(/(.*/)?[^/]+)?\.(cfg|conf)$", re.IGNORECASE)
NOT_MENUS = re.compile(r"(^|/)(themes?|fonts?|locale|[a-z0-9_]+-(efi|pc)/(modinfo|.*\.lst))(/|$)")


def loader(path: str) -> Loader | None:
    """Whose menu a file is, by its path; None if it is none."""
    if NOT_MENUS.search(path):
        return None
    if ISOLINUX_NAMES.search(path):
        return Loader.ISOLINUX
    return Loader.GRUB if GRUB_NAMES.search(path) else None


def menus(paths: Iterable[str]) -> dict[str, Loader]:
    """The menus among some files."""
    found = {path: loader(path) for path in sorted(paths)}
    return {path: kind for path, kind in found.items() if kind}


def matches(title: str, patterns: Iterable[str]) -> bool:
    """Whether a title fits one of the patterns."""
    return any(fnmatch(title, pattern) for pattern in patterns)


def plain(path: str) -> str:
    """The path of a kernel or initrd without GRUB's device in front of it."""
    return re.sub(r"^(\([^)]*\)|\$\{?\w+\}?)", "", path.strip("\"'")).lstrip("/")

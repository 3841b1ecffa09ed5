"""The shared libraries that a program needs in an initrd, and that are not there yet.

Those that are there are used, unless they lack a version of a symbol: then the program would fail
when it starts, which is too late. What a program opens by name later (`dlopen`) nobody can know.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.codec.model import DamagedError
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import elf
from imagebuilder.initrd.elf import Elf
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.paths import open_in, read_in

PROGRAM = stat.S_IFREG | 0o755
CONFIGURATION = "etc/ld.so.conf.d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a program goes to (`root`), and the tree that its libraries come from."""

    root: Rootfs
    tree: Path
    epoch: int
    where: str


def closure(program: Entry, home: Home) -> list[Entry]:
    """The loader and the libraries that the program needs beyond what the initrd has.

    Raise ConfigError if one is found nowhere, or is too old in the initrd.
    """
    made: dict[str, Entry] = {}
    waiting = [program]
    while waiting:
        entry = waiting.pop()
        parsed = _parsed(entry.content, entry.name, home.where)
        if parsed is None:
            continue
        new = [*_loader(parsed, home, made), *_libraries(parsed, entry.name, home, made)]
        made |= {each.name: each for each in new}
        waiting += new
    return [made[name] for name in sorted(made)]


def _loader(parsed: Elf, home: Home, made: dict[str, Entry]) -> Iterator[Entry]:
    path = parsed.interpreter.lstrip("/")
    if path and path not in made and home.root.real(path) not in home.root:
        content = _read(home.tree, path)
        if content is None:
            raise ConfigError(f"its loader {path} is not in {home.tree}", where=home.where)
        yield Entry(name=path, mode=PROGRAM, mtime=home.epoch, content=content)


def _libraries(parsed: Elf, user: str, home: Home, made: dict[str, Entry]) -> Iterator[Entry]:
    for name in parsed.needed:
        directories = _directories(parsed, user)
        if any(f"{directory}/{name}" in made for directory in directories):
            continue
        wanted = parsed.wants.get(name, frozenset())
        if (there := _present(home.root, parsed, directories, name)) is not None:
            _check(there, wanted, f"{name} in the initrd", user, home)
            continue
        found = _found(home.tree, parsed, directories, name)
        if found is None:
            raise ConfigError(
                f"{user} needs {name}, which is neither in the initrd nor in {home.tree}",
                where=home.where,
                hint="name the tree that the program is from with --libraries-from",
            )
        directory, content = found
        yield Entry(name=f"{directory}/{name}", mode=PROGRAM, mtime=home.epoch, content=content)


def _directories(parsed: Elf, user: str) -> tuple[str, ...]:
    origin = user.rpartition("/")[0]
    own = [
        path.replace("${ORIGIN}", f"/{origin}").replace("$ORIGIN", f"/{origin}").strip("/")
        for path in parsed.runpath
    ]
    return (*own, *parsed.directories)


def _present(root: Rootfs, user: Elf, directories: Sequence[str], name: str) -> Elf | None:
    for directory in directories:
        file = root.files.get(root.real(f"{directory}/{name}"))
        if file and (found := _fitting(file.content, user)):
            return found
    return None


def _found(
    tree: Path, user: Elf, directories: Sequence[str], name: str
) -> tuple[str, bytes] | None:
    """The directory that the library belongs in, and its content."""
    for directory in (*directories, *_configured(tree)):
        content = _read(tree, f"{directory}/{name}")
        if content and _fitting(content, user):
            return (directory if directory in directories else user.directories[0]), content
    return None


def _fitting(content: bytes, user: Elf) -> Elf | None:
    try:
        found = elf.parse(content)
    except DamagedError:
        return None
    fits = found and (found.bits, found.machine) == (user.bits, user.machine)
    return found if fits else None


def _check(there: Elf, wanted: frozenset[str], what: str, user: str, home: Home) -> None:
    if missing := sorted(wanted - there.offers):
        raise ConfigError(
            f"{what} is too old for {user}: it lacks {', '.join(missing)}",
            where=home.where,
            hint="take the program from the release that the initrd is from, or a static one",
        )


def _parsed(content: bytes, name: str, where: str) -> Elf | None:
    try:
        return elf.parse(content)
    except DamagedError as error:
        raise ConfigError(f"{name} is {error}", where=where) from error


def _configured(tree: Path) -> list[str]:
    """The directories that ld.so.conf(5) adds in a tree."""
    directory = tree / CONFIGURATION
    texts = [file.read_text() for file in sorted(directory.glob("*.conf")) if file.is_file()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line.strip("/") for line in lines if line.startswith("/")]


def _read(tree: Path, path: str) -> bytes | None:
    try:
        os.close(open_in(tree, path, os.O_PATH))
        return read_in(tree, path)
    except OSError:
        return None

"""Changes of the menus on an ISO image, of all that there are at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imagebuilder.errors import ConfigError
from imagebuilder.iso import grubcfg, isolinuxcfg, menu, roles
from imagebuilder.iso.menu import Loader, MenuChange

EDITORS = {Loader.GRUB: grubcfg.changed, Loader.ISOLINUX: isolinuxcfg.changed}
LABEL = r"(label=|label\s+|-l\s+)([\"']?)({old})(?![\w.-])"
SPACE = r"\x20"  # as udev writes it in the name of a link, and so in an argument


def edited(
    texts: Mapping[str, bytes], change: MenuChange, ids: tuple[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Those that change, after the change; `ids` are the old volume id and the new one."""
    for path, loader in menu.menus(texts).items():
        text = texts[path].decode(errors="surrogateescape")
        new = EDITORS[loader](text, change) if change else text
        if ids[0] != ids[1]:
            new = relabelled(new, *ids)
        if new != text:
            yield path, new.encode(errors="surrogateescape")


def check_entries(texts: Sequence[tuple[str, bytes]], change: MenuChange, where: str) -> None:
    """Raise ConfigError if a title that the change speaks of is nowhere, or none would be left."""
    menus = list(_titles(texts))
    titles = [title for entries, _ in menus for title in entries]
    if not titles:
        raise ConfigError("no menu with entries was found", where=where)
    known = [*titles, *(title for _, submenus in menus for title in submenus)]
    hint = f"there are: {', '.join(dict.fromkeys(known))}"
    named = [*change.keep, *change.drop, *(old for old, _ in change.rename)]
    longest = max(len(entries) for entries, _ in menus)
    if change.default.isdecimal() and int(change.default) >= longest:
        raise ConfigError(f"there is no menu entry {change.default}", where=where, hint=hint)
    named += [change.default] * (bool(change.default) and not change.default.isdecimal())
    renamed = [*known, *map(change.titled, known)]
    for pattern in named:
        if not any(menu.matches(title, (pattern,)) for title in renamed):
            raise ConfigError(f"no menu entry is titled {pattern!r}", where=where, hint=hint)
    if all(change.removes(title) for title in titles):
        raise ConfigError("no menu entry would be left", where=where, hint=hint)


def _titles(texts: Sequence[tuple[str, bytes]]) -> Iterator[tuple[list[str], list[str]]]:
    """The titles of each menu's entries, and those of its submenus."""
    for path, content in texts:
        if loader := menu.loader(path):
            text = content.decode(errors="surrogateescape")
            entries = [entry.title for entry in roles.READERS[loader](text)]
            yield entries, grubcfg.submenus(text) if loader is Loader.GRUB else []


def relabelled(text: str, old: str, new: str) -> str:
    """A menu with another volume id wherever the old one is looked for."""
    forms = "|".join(re.escape(form) for form in (old, old.replace(" ", SPACE)))

    def written(found: re.Match[str]) -> str:
        before, quote, form = found.groups()
        if SPACE in form or (before.endswith("=") and not quote):
            return f"{before}{quote}{new.replace(' ', SPACE)}"
        return f"{before}{quote}{new}" if quote or " " not in new else f"{before}'{new}'"

    return re.sub(LABEL.format(old=forms), written, text, flags=re.IGNORECASE)

"""What a copy of an ISO image will have that the original has not, before a byte is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import esp, grubcfg, isolinuxcfg, menu, roles
from imagebuilder.iso.menu import Loader, MenuChange
from imagebuilder.iso.model import Iso
from imagebuilder.iso.tree import Tree, clean
from imagebuilder.process import Runner
from imagebuilder.remaster import directory, initrd, iso_lists
from imagebuilder.remaster.initrd import Changes
from imagebuilder.remaster.iso_lists import News

EDITORS = {Loader.GRUB: grubcfg.changed, Loader.ISOLINUX: isolinuxcfg.changed}
LABEL = r"((?:label[=\s]+|-l\s+)[\"']?){old}(?![\w.-])"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoChanges:
    """What is to be different in an image; `initrd` in every initrd that its menus name."""

    menus: MenuChange = field(default_factory=MenuChange)
    volume_id: str = ""
    tree: Path | None = None  # what the image's files have become, all of them
    add: tuple[Wish, ...] = ()
    remove: tuple[str, ...] = ()
    initrd: Changes | None = None
    epoch: int = 0
    unbootable: bool = False  # an image that nothing can start will do


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All new contents by path, worked out before anything is written."""

    contents: Mapping[str, bytes]
    files: Mapping[str, Path]
    directories: tuple[str, ...]
    removals: tuple[str, ...]
    esp: Mapping[str, bytes]

    @property
    def news(self) -> News:
        """What lists of checksums are about."""
        return News(contents=self.contents, files=self.files, removals=self.removals)

    @property
    def touched(self) -> set[str]:
        """The paths that get new content."""
        return {*self.contents, *self.files}


def make(files: Tree, partition: Path | None, changes: IsoChanges, run: Runner) -> Plan:
    """The plan; raise ConfigError if there is nothing to do, or it cannot be done."""
    texts = dict(_texts(files))
    inner = dict(_esp_texts(partition, run)) if partition else {}
    if changes.menus:
        _check_entries([*texts.items(), *inner.items()], changes.menus, str(files.iso.path))
    contents = dict(_edited(texts, files.iso, changes))
    inside = dict(_edited(inner, files.iso, changes))
    contents |= dict(_initrds(files, changes, run))
    added = {path: source for wish in changes.add for path, source in _wished(wish, files)}
    removals = tuple(_removed(files, changes))
    if changes.tree:
        found = directory.of_medium(files, changes.tree)
        added, removals = {**found.files, **added}, (*removals, *found.gone)
    if not (contents or inside or added or removals or renames(files.iso, changes)):
        hint = "no menu has what was to be changed" if changes.menus else ""
        raise ConfigError("nothing to do", where=str(files.iso.path), hint=hint)
    _check_boot_files(files, {*contents, *added, *removals})
    plan = Plan(
        contents={path: text for path, text in contents.items() if path not in added},
        files=added,
        directories=tuple(_missing_directories(files, added)),
        removals=removals,
        esp=inside,
    )
    return replace(plan, contents={**plan.contents, **iso_lists.updated(files, plan.news, files)})


def _texts(files: Tree) -> Iterator[tuple[str, bytes]]:
    """The menus that are files of the image."""
    for path in menu.menus(files.nodes):
        if roles.is_menu(files.nodes[path]):
            yield path, files.read(path)


def _esp_texts(partition: Path, run: Runner) -> Iterator[tuple[str, bytes]]:
    """The menus inside the EFI system partition."""
    for path in menu.menus(esp.files(partition, run)):
        yield path, esp.read(partition, path, partition.parent, run)


def _edited(
    texts: Mapping[str, bytes], iso: Iso, changes: IsoChanges
) -> Iterator[tuple[str, bytes]]:
    """Those that change, after the change."""
    for path, loader in menu.menus(texts).items():
        text = texts[path].decode(errors="surrogateescape")
        new = EDITORS[loader](text, changes.menus) if changes.menus else text
        if renames(iso, changes):
            new = relabelled(new, iso.volume.id, changes.volume_id)
        if new != text:
            yield path, new.encode(errors="surrogateescape")


def _check_entries(texts: Sequence[tuple[str, bytes]], change: MenuChange, where: str) -> None:
    """Raise ConfigError if a title that the change speaks of is nowhere, or none would be left."""
    titles = [
        entry.title
        for path, content in texts
        if (loader := menu.loader(path))
        for entry in roles.READERS[loader](content.decode(errors="surrogateescape"))
    ]
    if not titles:
        raise ConfigError("no menu with entries was found", where=where)
    hint = f"there are: {', '.join(dict.fromkeys(titles))}"
    named = [*change.keep, *change.drop, *(old for old, _ in change.rename)]
    named += [change.default] * (bool(change.default) and not change.default.isdecimal())
    renamed = [*titles, *map(change.titled, titles)]
    for pattern in named:
        if not any(menu.matches(title, (pattern,)) for title in renamed):
            raise ConfigError(f"no menu entry is titled {pattern!r}", where=where, hint=hint)
    if all(change.removes(title) for title in titles):
        raise ConfigError("no menu entry would be left", where=where, hint=hint)


def relabelled(text: str, old: str, new: str) -> str:
    """A menu with another volume id wherever the old one is looked for."""
    for shown, wanted in ((old, new), (old.replace(" ", r"\x20"), new.replace(" ", r"\x20"))):
        pattern = re.compile(LABEL.format(old=re.escape(shown)), re.IGNORECASE)
        safe = wanted.replace("\\", r"\\")
        text = pattern.sub(rf"\g<1>{safe}", text)
    return text


def renames(iso: Iso, changes: IsoChanges) -> bool:
    """Whether the copy has another volume id."""
    return bool(changes.volume_id) and changes.volume_id != iso.volume.id


def _initrds(files: Tree, changes: IsoChanges, run: Runner) -> Iterator[tuple[str, bytes]]:
    if changes.initrd is None:
        return
    named = dict.fromkeys(path for entry in roles.entries(files) for path in entry.initrds)
    found = [path for path in named if path in files.nodes and files.nodes[path].is_file]
    if not found:
        raise ConfigError("no menu names an initrd that is there", where=str(files.iso.path))
    for path in found:
        where = f"{files.iso.path}: {path}"
        yield path, initrd.appended(files.read(path), where, changes.initrd, run)


def _wished(wish: Wish, files: Tree) -> Iterator[tuple[str, Path]]:
    if not wish.source.exists():
        raise ConfigError("no such file", where=str(wish.source))
    path = clean(wish.path)
    if wish.source.is_dir():
        for each in sorted(wish.source.rglob("*")):
            if each.is_file():
                yield clean(f"{path}/{each.relative_to(wish.source)}"), each
        return
    inside = wish.path.endswith("/") or (path in files.nodes and files.nodes[path].is_directory)
    yield (clean(f"{path}/{wish.source.name}") if inside else path), wish.source


def _removed(files: Tree, changes: IsoChanges) -> Iterator[str]:
    for path in changes.remove:
        files.below(path)
        if not clean(path):
            raise ConfigError("the root cannot be removed", where=str(files.iso.path))
        yield clean(path)


def _check_boot_files(files: Tree, touched: set[str]) -> None:
    for number, image in enumerate(files.iso.images, 1):
        node = roles.boot_file(files, image)
        if node and any(node.path == p or node.path.startswith(f"{p}/") for p in touched):
            what = f"{node.path} is boot image {number}, which has to stay as it is"
            raise ConfigError(what, where=str(files.iso.path))


def _missing_directories(files: Tree, added: Mapping[str, Path]) -> list[str]:
    parents = {
        "/".join(path.split("/")[:depth])
        for path in added
        for depth in range(1, path.count("/") + 1)
    }
    for path in parents:
        if path in files.nodes and not files.nodes[path].is_directory:
            raise ConfigError(f"{path} is no directory in it", where=str(files.iso.path))
    return sorted(path for path in parents if path not in files.nodes)

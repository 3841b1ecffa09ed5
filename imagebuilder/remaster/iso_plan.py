"""What a copy of an ISO image will have that the original has not, before a byte is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import esp, grubcfg, isolinuxcfg, menu, roles
from imagebuilder.iso.menu import Loader, MenuChange
from imagebuilder.iso.model import Iso
from imagebuilder.iso.tree import Tree, clean
from imagebuilder.process import Runner
from imagebuilder.remaster import directory, initrd, inner, iso_lists, iso_texts, output
from imagebuilder.remaster.initrd import Changes, Substitution
from imagebuilder.remaster.iso_lists import News
from imagebuilder.remaster.problems import Problems
from imagebuilder.remaster.squashfs import Edit, TreeChanges

EDITORS = {Loader.GRUB: grubcfg.changed, Loader.ISOLINUX: isolinuxcfg.changed}
LABEL = r"((?:label[=\s]+|-l\s+)[\"']?){old}(?![\w.-])"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoChanges:
    """What is to be different in an image.

    `initrd` adds a segment to every initrd in `initrds` (default: those that its menus name),
    `initrd_edit` changes the segments that are there. Files become what the directory `tree` is,
    `replace` and `patches` change their texts, `squashfs` what is in a squashfs image.
    """

    menus: MenuChange = field(default_factory=MenuChange)
    volume_id: str = ""
    tree: Path | None = None  # what the image's files have become, all of them
    add: tuple[Wish, ...] = ()
    remove: tuple[str, ...] = ()
    replace: tuple[Substitution, ...] = ()
    patches: tuple[Path, ...] = ()
    initrds: tuple[str, ...] = ()
    initrd: Changes | None = None
    initrd_edit: Changes | None = None
    squashfs: Mapping[str, TreeChanges] = field(default_factory=dict)
    sha256: str = ""  # of the original
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
    squashfs: Mapping[str, Edit] = field(default_factory=dict)  # still to be packed

    @property
    def news(self) -> News:
        """What lists of checksums are about."""
        return News(contents=self.contents, files=self.files, removals=self.removals)

    @property
    def touched(self) -> set[str]:
        """The paths that get new content."""
        return {*self.contents, *self.files}


def make(
    files: Tree, partition: Path | None, changes: IsoChanges, run: Runner, problems: Problems
) -> Plan:
    """The plan; note all that cannot be done.

    Raise ConfigError if there is nothing to do; what elements have left alone is copied.
    """
    inner_texts: dict[str, bytes] = {}
    with problems.noted():
        inner_texts = dict(_esp_texts(partition, run)) if partition else {}
    contents = iso_texts.changed(files, changes.replace, changes.patches, problems)
    added, removals = _added(files, changes, problems)
    texts = _menus(files, contents, added, removals)
    with problems.noted():
        if changes.menus:
            every = [*texts.items(), *inner_texts.items()]
            _check_entries(every, changes.menus, str(files.iso.path))
    edited = dict(_edited(texts, files.iso, changes))
    added = {path: source for path, source in added.items() if path not in edited}
    contents |= edited
    contents |= _initrds(files, changes, run, problems)
    inside = dict(_edited(inner_texts, files.iso, changes))
    edits = _squashfs(files, changes, problems)
    plan = Plan(
        contents={path: text for path, text in contents.items() if path not in added},
        files=added,
        directories=(),
        removals=removals,
        esp=inside,
        squashfs=edits,
    )
    unchanged = not (plan.touched or inside or removals or edits)
    if unchanged and not problems.found and changes.tree is None:
        _check_renames(files.iso, changes)
    missing: tuple[str, ...] = ()
    with problems.noted():
        _check_boot_files(files, {*plan.touched, *removals, *edits})
        missing = tuple(_missing_directories(files, added))
    return replace(plan, directories=missing)


def completed(files: Tree, plan: Plan, packed: Mapping[str, Path] | None = None) -> Plan:
    """The plan with what follows from it: what lies beside squashfs images, lists of checksums.

    `packed` are squashfs images that are made by now. Raise ConfigError for a signature that
    would be none.
    """
    plan = replace(plan, files={**plan.files, **(packed or {})})
    beside = {
        path: text
        for path, text in inner.beside(files, plan.files, plan.removals)
        if path not in plan.touched
    }
    plan = replace(plan, contents={**plan.contents, **beside})
    return replace(plan, contents={**plan.contents, **iso_lists.updated(files, plan.news, files)})


def _added(
    files: Tree, changes: IsoChanges, problems: Problems
) -> tuple[dict[str, Path], tuple[str, ...]]:
    added: dict[str, Path] = {}
    removals: list[str] = []
    if changes.tree:
        with problems.noted():
            found = directory.of_medium(files, changes.tree)
            added, removals = dict(found.files), [*found.gone]
    for wish in changes.add:
        with problems.noted():
            added |= dict(_wished(wish, files))
    for path in changes.remove:
        with problems.noted():
            removals.append(_removed(files, path))
    return added, tuple(dict.fromkeys(removals))


def _is_gone(path: str, removals: Collection[str]) -> bool:
    return any(path == gone or path.startswith(f"{gone}/") for gone in removals)


def _squashfs(files: Tree, changes: IsoChanges, problems: Problems) -> dict[str, Edit]:
    edits = {}
    for path, wanted in changes.squashfs.items():
        with problems.noted():
            name = files.file(path).path
            edits[name] = inner.planned(files, name, wanted)
            inner.check_signature(files, name, changes.remove)
    return edits


def _check_renames(iso: Iso, changes: IsoChanges) -> None:
    if not renames(iso, changes):
        hint = "no menu has what was to be changed" if changes.menus else ""
        raise ConfigError("nothing to do", where=str(iso.path), hint=hint)


def _menus(
    files: Tree,
    contents: Mapping[str, bytes],
    added: Mapping[str, Path],
    removals: Collection[str],
) -> dict[str, bytes]:
    """The menus as they are after other changes."""
    old = dict(_texts(files))
    changed = {path: text for path, text in contents.items() if path in old}
    new = {path: output.read(added[path]) for path in menu.menus(added)}
    return {p: t for p, t in {**old, **changed, **new}.items() if not _is_gone(p, removals)}


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


def _initrds(files: Tree, changes: IsoChanges, run: Runner, problems: Problems) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    if changes.initrd is None and changes.initrd_edit is None:
        return made
    named = changes.initrds or tuple(p for entry in roles.entries(files) for p in entry.initrds)
    with problems.noted():
        found = [path for path in dict.fromkeys(named) if changes.initrds or path in files]
        if not found:
            what = "no menu names an initrd that is there"
            raise ConfigError(what, where=str(files.iso.path))
        for path in found:
            with problems.noted():
                node = files.file(path)
                made[node.path] = _initrd(files, node.path, changes, run)
    return made


def _initrd(files: Tree, path: str, changes: IsoChanges, run: Runner) -> bytes:
    where = f"{files.iso.path}: {path}"
    data = files.read(path)
    if changes.initrd_edit:
        data = initrd.edited(data, where, changes.initrd_edit, run)
    return initrd.appended(data, where, changes.initrd, run) if changes.initrd else data


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


def _removed(files: Tree, path: str) -> str:
    files.below(path)
    if not clean(path):
        raise ConfigError("the root cannot be removed", where=str(files.iso.path))
    return clean(path)


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

"""What a copy of an ISO image will have that the original has not, before a byte is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuilder import signing
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import esp, menu, roles
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.model import SECTOR, Iso
from imagebuilder.iso.tree import Tree, clean
from imagebuilder.process import Runner
from imagebuilder.remaster import (
    directory,
    initrd,
    inner,
    iso_lists,
    iso_menus,
    iso_texts,
    signatures,
)
from imagebuilder.remaster.initrd import Changes, Substitution
from imagebuilder.remaster.iso_lists import News
from imagebuilder.remaster.problems import Problems
from imagebuilder.remaster.signatures import Signer
from imagebuilder.remaster.squashfs import Edit, TreeChanges

PLAIN_NAME = re.compile(r"(?=.{1,31}$)[A-Z0-9_]+(\.[A-Z0-9_]*)?")


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
    key: str = ""  # for signatures beside files that change
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
    signer: Signer = field(default_factory=Signer)

    @property
    def news(self) -> News:
        """What lists of checksums are about."""
        return News(contents=self.contents, files=self.files, removals=self.removals)

    @property
    def touched(self) -> set[str]:
        """The paths that get new content."""
        return {*self.contents, *self.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """What an image has once files are added and others gone, and nothing else is changed."""

    files: Tree
    added: Mapping[str, Path]
    gone: set[str]

    def has(self, path: str) -> bool:
        """Whether there is something at a path."""
        return path in self.added or (path in self.files and path not in self.gone)

    def read(self, path: str) -> tuple[str, bytes]:
        """The path and the content of a file; raise ConfigError if it is none."""
        if (name := clean(path)) in self.added:
            return name, self.added[name].read_bytes()
        node = self.files.file(path)
        return node.path, self.files.read(node.path)

    def menus(self) -> Iterator[tuple[str, bytes]]:
        """The menus and their texts."""
        for path in menu.menus({*self.files.nodes, *self.added}):
            if path in self.added:
                if self.added[path].stat().st_size <= roles.LARGEST_MENU:
                    yield self.read(path)
            elif path not in self.gone and roles.is_menu(self.files.nodes[path]):
                yield self.read(path)


def make(
    files: Tree, partition: Path | None, changes: IsoChanges, run: Runner, problems: Problems
) -> Plan:
    """The plan; note all that cannot be done.

    Raise ConfigError if there is nothing to do; what elements have left alone is copied.
    """
    added, removals = _added(files, changes, problems)
    gone = {node.path for path in removals for node in files.below(path)}
    inner_texts: dict[str, bytes] = {}
    with problems.noted():
        inner_texts = dict(_esp_texts(partition, run)) if partition else {}
    contents = iso_texts.changed(files, changes.replace, changes.patches, problems)
    edits = _squashfs(files, changes, problems)
    with problems.noted():
        lost = {*map(clean, changes.initrds)} & (gone - {*added})
        _check_kept(files, {*contents, *edits} & {*gone, *added} | lost)
    there = _There(files=files, added=added, gone=gone)
    texts = {path: contents.get(path, text) for path, text in there.menus()}
    with problems.noted():
        if changes.menus:
            every = [*texts.items(), *inner_texts.items()]
            iso_menus.check_entries(every, changes.menus, str(files.iso.path))
    ids = (files.iso.volume.id, changes.volume_id or files.iso.volume.id)
    contents |= dict(iso_menus.edited(texts, changes.menus, ids))
    contents |= _initrds(there, changes, run, problems)
    inside = dict(iso_menus.edited(inner_texts, changes.menus, ids))
    plan = Plan(
        contents=contents,
        files={path: source for path, source in added.items() if path not in contents},
        directories=(),
        removals=removals,
        esp=inside,
        squashfs=edits,
        signer=Signer(key=changes.key, epoch=changes.epoch),
    )
    unchanged = not (plan.touched or inside or removals or edits)
    if unchanged and not problems.found and changes.tree is None:
        _check_renames(files.iso, changes)
    return _with_directories(files, plan, gone, run, problems)


def _with_directories(
    files: Tree, plan: Plan, gone: set[str], run: Runner, problems: Problems
) -> Plan:
    """The plan with the directories that it needs; note what it must not touch."""
    with problems.noted():
        _check_signatures(files, plan, run)
    missing: tuple[str, ...] = ()
    with problems.noted():
        _check_boot_files(files, {*plan.touched, *plan.removals, *plan.squashfs})
        missing = tuple(_missing_directories(files, plan.files, gone - {*plan.files}))
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
        if path not in settled(files, plan)
    }
    plan = _signed(files, replace(plan, contents={**plan.contents, **beside}))
    return with_lists(files, plan, iso_lists.updated(files, plan.news, files))


def with_lists(files: Tree, plan: Plan, lists: Mapping[str, bytes]) -> Plan:
    """The plan with lists of checksums, and their own signatures."""
    stale = {f"{name}{end}" for name in lists for end in signatures.ENDS}
    kept = {path: text for path, text in plan.contents.items() if path not in stale}
    return _signed(files, replace(plan, contents={**kept, **lists}))


def _signed(files: Tree, plan: Plan) -> Plan:
    """The plan with new signatures beside what changes."""
    news: dict[str, bytes | Path] = {**plan.contents, **plan.files}
    made = signatures.renewed(files, news, settled(files, plan), plan.signer)
    return replace(plan, contents={**plan.contents, **made})


def _check_signatures(files: Tree, plan: Plan, run: Runner) -> None:
    """Raise ConfigError for signatures that cannot be renewed; one is tried if there are any."""
    signer, done = plan.signer, settled(files, plan)
    changed = {*plan.touched, *plan.squashfs}
    if signer.key:
        signing.check(signer.key, run)
        if signatures.beside(files, changed, done):
            signing.detached(b"", signer.key, signer.epoch, run)
    signatures.check(files, changed, done, signer.key)


def settled(files: Tree, plan: Plan) -> set[str]:
    """The paths of which it is decided what they become: new content, or nothing."""
    return plan.touched | {node.path for path in plan.removals for node in files.below(path)}


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
            added |= {_named(files, path): source for path, source in _wished(wish, files)}
    for path in changes.remove:
        with problems.noted():
            removals.append(_removed(files, path))
    return added, tuple(dict.fromkeys(removals))


def _squashfs(files: Tree, changes: IsoChanges, problems: Problems) -> dict[str, Edit]:
    edits = {}
    for path, wanted in changes.squashfs.items():
        with problems.noted():
            name = files.file(path).path
            edits[name] = inner.planned(files, name, wanted)
    return edits


def _check_kept(files: Tree, paths: set[str]) -> None:
    if paths:
        what = f"{min(paths)} is to be changed, and to be removed or replaced by another file"
        raise ConfigError(what, where=str(files.iso.path), hint="do one of the two")


def _check_renames(iso: Iso, changes: IsoChanges) -> None:
    if not renames(iso, changes):
        hint = "no menu has what was to be changed" if changes.menus else ""
        raise ConfigError("nothing to do", where=str(iso.path), hint=hint)


def _esp_texts(partition: Path, run: Runner) -> Iterator[tuple[str, bytes]]:
    """The menus inside the EFI system partition."""
    for path in menu.menus(esp.files(partition, run)):
        yield path, esp.read(partition, path, partition.parent, run)


def renames(iso: Iso, changes: IsoChanges) -> bool:
    """Whether the copy has another volume id."""
    return bool(changes.volume_id) and changes.volume_id != iso.volume.id


def _initrds(
    there: _There, changes: IsoChanges, run: Runner, problems: Problems
) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    if changes.initrd is None and changes.initrd_edit is None:
        return made
    files = there.files
    named = changes.initrds or tuple(p for entry in roles.entries(files) for p in entry.initrds)
    with problems.noted():
        found = [path for path in dict.fromkeys(named) if changes.initrds or there.has(path)]
        if not found:
            what = "no menu names an initrd that is there"
            raise ConfigError(what, where=str(files.iso.path))
        for path in found:
            with problems.noted():
                name, data = there.read(path)
                made[name] = _initrd(data, f"{files.iso.path}: {name}", changes, run)
    return made


def _initrd(data: bytes, where: str, changes: IsoChanges, run: Runner) -> bytes:
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
    if not wish.source.is_file():
        raise ConfigError("is neither a file nor a directory", where=str(wish.source))
    inside = wish.path.endswith("/") or (path in files.nodes and files.nodes[path].is_directory)
    yield (clean(f"{path}/{wish.source.name}") if inside else path), wish.source


def _named(files: Tree, path: str) -> str:
    """The path as the image can have it: without Rock Ridge and Joliet, names are upper-case."""
    if files.iso.rock_ridge or files.iso.joliet:
        return path
    for name in path.upper().split("/"):
        if not PLAIN_NAME.fullmatch(name):
            what = f"has no Rock Ridge, and no way to name {name!r}"
            hint = "at most 30 letters, digits and _, and one dot"
            raise ConfigError(what, where=str(files.iso.path), hint=hint)
    return path.upper()


def _removed(files: Tree, path: str) -> str:
    files.below(path)
    if not clean(path):
        raise ConfigError("the root cannot be removed", where=str(files.iso.path))
    return clean(path)


def _check_boot_files(files: Tree, touched: set[str]) -> None:
    for path, what in _fixed(files):
        if any(path == each or path.startswith(f"{each}/") for each in touched):
            raise ConfigError(f"{path} is {what}", where=str(files.iso.path))


def _fixed(files: Tree) -> Iterator[tuple[str, str]]:
    """Files by which the image starts, and why they cannot be changed."""
    for number, image in enumerate(files.iso.images, 1):
        if node := roles.boot_file(files, image):
            yield node.path, f"boot image {number}, which has to stay as it is"
    catalog = files.iso.catalog * SECTOR
    for path, node in files.nodes.items():
        if catalog and node.extents and node.extents[0][0] == catalog:
            yield path, "the El Torito boot catalog, which has to stay as it is"


def _missing_directories(files: Tree, added: Mapping[str, Path], gone: set[str]) -> list[str]:
    """The new directories that files need; raise ConfigError where none can be, or is."""
    where = str(files.iso.path)
    parents = {
        "/".join(path.split("/")[:depth])
        for path in added
        for depth in range(1, path.count("/") + 1)
    }
    there = {path: node for path, node in files.nodes.items() if path not in gone}
    for path in sorted(parents):
        if path in added:
            raise ConfigError(f"{path} is to be a file, and a directory", where=where)
        if path in there and not there[path].is_directory:
            target = there[path].target
            hint = f"it is a symlink to {target}" if target else ""
            raise ConfigError(f"{path} is no directory in it", where=where, hint=hint)
    for path in sorted(added):
        if path in there and there[path].is_directory:
            raise ConfigError(f"{path} is a directory in it", where=where, hint="--remove it")
    return sorted(path for path in parents if path not in there)

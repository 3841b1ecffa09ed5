"""What two ISO images have different, down to the files inside what their files hold.

A file that differs is looked into: a squashfs image and an initrd have files of their own, a menu
has lines, and a root filesystem has packages. Nothing is unpacked to disk but the EFI system
partitions.
"""

from __future__ import annotations

import difflib
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imagebuilder import process
from imagebuilder.initrd import load, rootfs
from imagebuilder.initrd.model import Initrd
from imagebuilder.iso import compare, esp, menu, roles
from imagebuilder.iso.compare import Difference
from imagebuilder.iso.tree import Tree
from imagebuilder.process import Runner
from imagebuilder.remaster import inner
from imagebuilder.remaster.packages import versions
from imagebuilder.squashfs.image import Image, is_same
from imagebuilder.squashfs.superblock import MAGIC
from imagebuilder.squashfs.tables import Inode

DEB = re.compile(r"(?:^|/)([^/_]+)_([^/_]+)_([^/_]+)\.u?deb$")
STATUS = "var/lib/dpkg/status"
HEAD = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is different in one place: the image itself, or a file of it. `lines` are a diff."""

    title: str
    path: str = ""
    differences: tuple[Difference, ...] = ()
    lines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.differences or self.lines)


def parts(old: Tree, new: Tree, run: Runner = process.run) -> list[Part]:
    """All places with differences, the image itself first."""
    found = compare.differences(old, new)
    changed = [
        each.what
        for each in found
        if each.kind == "changed" and old.nodes[each.what].is_file and new.nodes[each.what].is_file
    ]
    made = [
        Part(title="volume", differences=_of(found, "volume")),
        Part(title="boot records and partitions", differences=_of(found, "boot")),
        Part(title="files", differences=_of(found, "added", "removed", "changed")),
        Part(title="packages", path="(files)", differences=tuple(_pool(old, new))),
        *(part for path in changed for part in _inner(old, new, path)),
        *_partitions(old, new, run),
    ]
    return [part for part in made if part]


def shown(found: Iterable[Part]) -> list[str]:
    """The differences as lines of text."""
    lines: list[str] = []
    for part in found:
        lines += [f"{part.title}{f' of {part.path}' if part.path else ''}:"]
        lines += [f"  {each}" for each in (*part.differences, *part.lines)]
    return lines


def _of(found: Iterable[Difference], *kinds: str) -> tuple[Difference, ...]:
    return tuple(each for each in found if each.kind in kinds)


def _inner(old: Tree, new: Tree, path: str) -> Iterator[Part]:
    """What is different inside a file, if it is of a kind that has an inside."""
    heads = [next(files.pieces(files.nodes[path]), b"")[:HEAD] for files in (old, new)]
    if all(head.startswith(MAGIC) for head in heads):
        yield from _squashfs(path, inner.image(old, path), inner.image(new, path))
    elif menu.loader(path):
        texts = (files.read(path).decode(errors="replace") for files in (old, new))
        yield Part(title="menu", path=path, lines=tuple(_unified(*texts)))
    elif path in {p for files in (old, new) for e in roles.entries(files) for p in e.initrds}:
        yield from _initrds(path, old.read(path), new.read(path))


def _squashfs(path: str, old: Image, new: Image) -> Iterator[Part]:
    before, after = dict(old.files()), dict(new.files())

    def same(name: str) -> bool:
        if not stat.S_ISREG(before[name].mode):
            return True
        return is_same((old, before[name]), (new, after[name]))

    facts = (_facts(before, old.owners()), _facts(after, new.owners()))
    yield Part(title="files", path=path, differences=tuple(_files(same, *facts)))
    status = [
        b"".join(image.pieces(files[STATUS])).decode(errors="replace") if STATUS in files else ""
        for image, files in ((old, before), (new, after))
    ]
    yield Part(title="packages", path=path, differences=tuple(_versions(*map(versions, status))))


def _facts(files: Mapping[str, Inode], ids: list[int]) -> dict[str, tuple[object, ...]]:
    """What there is to know of each file of a squashfs image."""
    return {
        name: (
            stat.filemode(inode.mode),
            f"owner {ids[inode.owner]}:{ids[inode.group]}",
            inode.target.decode(errors="replace"),
            inode.rdev,
            inode.size if stat.S_ISREG(inode.mode) else 0,
        )
        for name, inode in files.items()
    }


def _initrds(path: str, before: bytes, after: bytes) -> Iterator[Part]:
    old, new = load.load(before, path), load.load(after, path)
    lines = tuple(_unified(_segments(old), _segments(new)))
    yield Part(title="segments", path=path, lines=lines)
    one, other = rootfs.of(old).files, rootfs.of(new).files
    facts = [
        {
            name: (stat.filemode(f.mode), f"owner {f.uid}:{f.gid}", f.rdev, len(f.content))
            for name, f in files.items()
        }
        for files in (one, other)
    ]

    def same(name: str) -> bool:
        return one[name].content == other[name].content

    yield Part(title="files", path=path, differences=tuple(_files(same, *facts)))


def _segments(initrd: Initrd) -> str:
    return "".join(
        f"{segment.kind}{', early' * segment.early}: {segment.entries} entries\n"
        for segment in initrd.segments
    )


def _files(
    same: Callable[[str], bool],
    old: Mapping[str, tuple[object, ...]],
    new: Mapping[str, tuple[object, ...]],
) -> Iterator[Difference]:
    """Files by path with what there is to know of each; the last is the size in bytes."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield Difference(kind="added" if before is None else "removed", what=name)
            continue
        pairs = zip(before, after, strict=True)
        changed = [(str(was), str(now)) for was, now in pairs if was != now]
        if not changed and not same(name):
            changed = [(f"{before[-1]} bytes", "other bytes")]
        if changed:
            was, now = (", ".join(pair[side] for pair in changed) for side in (0, 1))
            yield Difference(kind="changed", what=name, old=was, new=now)


def _versions(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        before, after = old.get(name, ""), new.get(name, "")
        if not before or not after:
            kind, what = ("added", after) if after else ("removed", before)
            yield Difference(kind=kind, what=f"{name} {what}")
        elif before != after:
            yield Difference(kind="changed", what=name, old=before, new=after)


def _pool(old: Tree, new: Tree) -> Iterator[Difference]:
    old_pool, new_pool = (
        {f"{m[1]}:{m[3]}": m[2] for path in files.nodes if (m := DEB.search(path))}
        for files in (old, new)
    )
    return _versions(old_pool, new_pool)


def _partitions(old: Tree, new: Tree, run: Runner) -> Iterator[Part]:
    """Menus and files in the EFI system partitions, if mtools can read both."""
    if not (roles.esp_place(old.iso, old) and roles.esp_place(new.iso, new)):
        return
    with tempfile.TemporaryDirectory(prefix="imagebuilder-diff-") as directory:
        one, other = (
            _contents(files, Path(directory) / name, run)
            for files, name in ((old, "old.img"), (new, "new.img"))
        )
    place = "the EFI system partition"
    sizes = [{path: (len(content),) for path, content in each.items()} for each in (one, other)]
    same = partial(_is_equal, one, other)
    yield Part(title="files", path=place, differences=tuple(_files(same, *sizes)))
    for path in menu.menus({*one} & {*other}):
        texts = (each[path].decode(errors="replace") for each in (one, other))
        yield Part(title="menu", path=f"{place}: {path}", lines=tuple(_unified(*texts)))


def _is_equal(old: Mapping[str, bytes], new: Mapping[str, bytes], name: str) -> bool:
    return old[name] == new[name]


def _contents(files: Tree, image: Path, run: Runner) -> dict[str, bytes]:
    place = roles.esp_place(files.iso, files)
    assert place
    with files.iso.path.open("rb") as source:
        source.seek(place[0])
        image.write_bytes(source.read(place[1]))
    return {path: esp.read(image, path, image.parent, run) for path in esp.files(image, run)}


def _unified(old: str, new: str) -> Iterator[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    return (line for line in lines if not line.startswith(("---", "+++")))

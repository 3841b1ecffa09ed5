"""squashfs images on an ISO image: looked into where they lie, taken out, packed again.

What lies beside one on an installer's CD is renewed with it: the list of its packages
(`NAME.manifest`), and how much room it takes when unpacked (`NAME.size`).
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.rootfs import File
from imagebuilder.iso.tree import Tree
from imagebuilder.remaster import squashfs
from imagebuilder.remaster.packages import manifest
from imagebuilder.remaster.squashfs import Edit, TreeChanges
from imagebuilder.squashfs import superblock
from imagebuilder.squashfs.image import Image, opened, reader

HEAD = 128
SUFFIX = ".squashfs"
STATUS = "var/lib/dpkg/status"
CLUSTER = 4096  # what du(1) counts in


def image(files: Tree, path: str) -> Image:
    """The squashfs image that a file is; raise ConfigError if it is none."""
    node = files.file(path)
    where = f"{files.iso.path}: {node.path}"
    ends = [(start + length, after) for (start, length), (after, _) in pairwise(node.extents)]
    if any(end != after for end, after in ends):
        raise ConfigError("is in several pieces, and cannot be looked into", where=where)
    read = reader(files.iso.path, node.extents[0][0] if node.extents else 0)
    return Image(read, superblock.parse(read(0, HEAD), node.size, where), where)


def planned(files: Tree, path: str, changes: TreeChanges) -> Edit:
    """What has to be done to an image; raise ConfigError for any change that does not fit."""
    found = image(files, path)
    return squashfs.tried(found, squashfs.plan(squashfs.listed(found), changes, found.where))


def hidden(files: Tree, edits: Mapping[str, Edit]) -> Iterator[str]:
    """What a layer above hides of changes in one below: casper stacks them by the dots in names."""
    for path, edit in edits.items():
        stem = path.removesuffix(SUFFIX)
        changed = {*edit.gone, *edit.contents, *(entry.name for entry in edit.new)}
        above = (p for p in files.nodes if p.startswith(f"{stem}.") and p.endswith(SUFFIX))
        for layer in (p for p in above if p != path):
            there = {name for name, inode in image(files, layer).files() if not inode.is_directory}
            if lost := sorted(there & changed):
                yield f"{lost[0]} in {path} is hidden by {layer}, which has one of its own"


def packed(files: Tree, edits: Mapping[str, Edit], work: Path) -> dict[str, Path]:
    """Write every squashfs image with its changes to a file of its own in `work`."""
    made = {}
    for number, (path, edit) in enumerate(sorted(edits.items())):
        old, new = work / f"old-{number}.squashfs", work / f"new-{number}.squashfs"
        with old.open("wb") as file:
            file.writelines(files.pieces(files.file(path)))
        squashfs.write(old, new, edit)
        old.unlink()
        made[path] = new
    return made


def beside(
    files: Tree, new: Mapping[str, Path], removed: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """The new contents of what lies beside squashfs images that change."""
    for path, source in new.items():
        if not path.endswith(SUFFIX) or path not in files.nodes:
            continue
        stem = path.removesuffix(SUFFIX)
        listed = [f"{stem}{end}" for end in (".manifest", ".size") if f"{stem}{end}" in files.nodes]
        for name in (name for name in listed if name not in new and name not in removed):
            yield name, manifest_of(source) if name.endswith(".manifest") else size_of(source)


def manifest_of(source: Path) -> bytes:
    """The packages in an image, as `dpkg-query -W` lists them; nothing without dpkg."""
    found = opened(source)
    inodes = dict(found.files())
    if STATUS not in inodes:
        return b""
    return manifest(b"".join(found.pieces(inodes[STATUS])).decode(errors="replace")).encode()


def size_of(source: Path) -> bytes:
    """What `du -sx --block-size=1` would say of it, with clusters of 4 KiB."""
    unique: Iterable[File] = {id(f): f for f in squashfs.listing(source).files.values()}.values()
    used = CLUSTER + sum(
        CLUSTER if stat.S_ISDIR(file.mode) else -(-file.size // CLUSTER) * CLUSTER
        for file in unique
    )
    return f"{used}\n".encode()

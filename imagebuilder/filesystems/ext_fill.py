"""Puts a tree into an empty ext2, ext3 or ext4 filesystem, all but the contents of its files.

`mke2fs -d` copies contents block by block, takes change times from the tree, which nobody can
set there, and wraps times from 2038 on. Here every inode is written once, as it is to be, and
contents get their places, but stay where they are until somebody reads or writes the image.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import holes
from imagebuilder.disk.image import Borrowed, stamp
from imagebuilder.errors import BuildError, CommandError
from imagebuilder.filesystems import ext_inode, ext_map
from imagebuilder.filesystems.ext2fs import LINKS, LOST_AND_FOUND, ROOT, Filesystem
from imagebuilder.filesystems.ext_inode import IN_INODE, KINDS, MOST_LINKS, Content
from imagebuilder.filesystems.ext_map import Run, Take
from imagebuilder.filesystems.ext_room import Room

# Places in struct ext2_super_block, and features (ext2fs/ext2_fs.h)
COMPATIBLE, INCOMPATIBLE, READ_ONLY_COMPATIBLE = 92, 96, 100
NEEDED = {COMPATIBLE: 0x8, INCOMPATIBLE: 0x2, READ_ONLY_COMPATIBLE: 0x2}
KNOWN = {
    COMPATIBLE: 0x1E3D,  # journal, attributes, resize_inode, dir_index, sparse_super2, ...
    INCOMPATIBLE: 0x62D2,  # filetype, meta_bg, extent, 64bit, flex_bg, csum_seed, large_dir
    READ_ONLY_COMPATIBLE: 0x47B,  # all before quota, and metadata_csum
}
EXTENT, METADATA_CHECKSUMS = 0x40, 0x400
LARGEST_BLOCK = 4096
USES_EXTENTS = 0x80000  # a flag of an inode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Directory:
    path: str
    status: os.stat_result
    number: int
    parent: int


def knows(filesystem: Filesystem) -> bool:
    """Whether `fill` can do with the features that the filesystem has."""
    features = {place: _features(filesystem, place) for place in KNOWN}
    return filesystem.fields.blocksize <= LARGEST_BLOCK and all(
        not features[place] & ~KNOWN[place] and features[place] & needed == needed
        for place, needed in NEEDED.items()
    )


def fill(filesystem: Filesystem, tree: Path, offset: int, moment: int) -> tuple[Borrowed, ...]:
    """Write what is in `tree`; say which contents belong where, `offset` being the beginning.

    All times but mtime become `moment` (seconds since 1970).
    """
    filler = _Filler(filesystem, offset, moment)
    path = os.fspath(tree)
    waiting = [_Directory(path=path, status=tree.stat(), number=ROOT, parent=ROOT)]
    while waiting:
        waiting.extend(reversed(filler.directory(waiting.pop())))
    filler.count_links()
    return tuple(sorted(filler.borrowed))


class _Filler:
    """Writes inode after inode."""

    def __init__(self, filesystem: Filesystem, offset: int, moment: int) -> None:
        self.filesystem, self.offset, self.moment = filesystem, offset, moment
        self.block_size = int(filesystem.fields.blocksize)
        self.by_extents = bool(_features(filesystem, INCOMPATIBLE) & EXTENT)
        self.checksums = bool(_features(filesystem, READ_ONLY_COMPATIBLE) & METADATA_CHECKSUMS)
        self.room = Room(filesystem)
        self.borrowed: list[Borrowed] = []
        self.linked: dict[tuple[int, int], int] = {}
        self.links: dict[int, int] = {}

    def directory(self, directory: _Directory) -> list[_Directory]:
        """Write a directory and all in it that is none; return the directories in it."""
        entries: list[tuple[int, bytes, int]] = []
        below: list[_Directory] = []
        with os.scandir(directory.path) as found:
            listed = sorted(found, key=lambda entry: entry.name)
        for entry in listed:
            status = entry.stat(follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                below.append(self.below(directory, entry, status))
                number = below[-1].number
            else:
                number = self.file(entry.path, status)
            entries.append((number, os.fsencode(entry.name), KINDS[kind]))
        if directory.number in {ROOT, LOST_AND_FOUND}:
            self.add(directory, entries, links=2 + len(below))
        else:
            self.new(directory, entries, links=2 + len(below))
        return below

    def below(
        self, directory: _Directory, entry: os.DirEntry[str], status: os.stat_result
    ) -> _Directory:
        """A directory, with its number, in another one."""
        is_there = directory.number == ROOT and entry.name == "lost+found"
        return _Directory(
            path=entry.path,
            status=status,
            number=LOST_AND_FOUND if is_there else self.filesystem.new_inode(directory=True),
            parent=directory.number,
        )

    def new(
        self, directory: _Directory, entries: list[tuple[int, bytes, int]], *, links: int
    ) -> None:
        """Write a directory that mke2fs did not make."""
        own = [(directory.number, b".", 2), (directory.parent, b"..", 2)]
        blocks = ext_inode.listing([*own, *entries], self.block_size, checksums=self.checksums)
        runs = _runs([(0, len(blocks))], self.room.for_description)
        remaining = iter(blocks)
        for run in runs:
            for block in range(run.physical, run.physical + run.blocks):
                self.filesystem.write_listing(block, next(remaining), directory.number)
        content = self.mapped(directory.number, runs, len(blocks) * self.block_size)
        self.write(directory.number, directory.path, directory.status, content, links)

    def add(
        self, directory: _Directory, entries: list[tuple[int, bytes, int]], *, links: int
    ) -> None:
        """Add to a directory that mke2fs made."""
        filesystem = self.filesystem
        for number, name, kind in entries:
            if number == LOST_AND_FOUND:
                links -= 1
            else:
                filesystem.link(directory.number, name, number, kind)
        links += directory.number == ROOT  # for lost+found
        content = ext_inode.content(filesystem.read(directory.number), self.block_size)
        self.write(directory.number, directory.path, directory.status, content, links)

    def file(self, path: str, status: os.stat_result) -> int:
        """Write what is not a directory, unless another name of it was there first; its number."""
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            number = self.linked.get(identity)
            if number:
                self.links[number] = _one_more(self.links.get(number, 1), path)
                return number
        number = self.filesystem.new_inode(directory=False)
        if status.st_nlink > 1:
            self.linked[identity] = number
        self.write(number, path, status, self.content(number, path, status), 1)
        return number

    def content(self, number: int, path: str, status: os.stat_result) -> Content:
        """Find room for the content of what is not a directory."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            return self.regular(number, path, status)
        if kind == stat.S_IFLNK:
            return self.symlink(number, path)
        if kind in {stat.S_IFCHR, stat.S_IFBLK}:
            return Content(area=ext_inode.device(status.st_rdev))
        return Content()

    def regular(self, number: int, path: str, status: os.stat_result) -> Content:
        """Find room for a file's content, which is borrowed."""
        block_size, size, seen = self.block_size, status.st_size, stamp(status)
        runs = _runs(_ranges(path, status, block_size), self.room.for_content)
        for logical, physical, count in runs:
            start = logical * block_size
            length = min(count * block_size, size - start)
            place = self.offset + physical * block_size
            self.borrowed.append(Borrowed(place, length, path, start, seen))
        return self.mapped(number, runs, size)

    def symlink(self, number: int, path: str) -> Content:
        """Write a symlink's target into its inode, or into a block if it is long."""
        target = os.fsencode(os.readlink(path))  # ruff: ignore[os-readlink] - many, fast
        if len(target) < IN_INODE:
            return Content(area=target, size=len(target))
        if len(target) >= self.block_size:
            raise BuildError(f"its target has no room in {self.block_size} bytes", where=path)
        runs = _runs([(0, 1)], self.room.for_description)
        self.filesystem.write_block(runs[0].physical, target.ljust(self.block_size, b"\0"))
        return self.mapped(number, runs, len(target))

    def mapped(self, number: int, runs: Sequence[Run], size: int) -> Content:
        """Write the blocks that say where an inode's content is."""
        filesystem, extents = self.filesystem, self.by_extents
        build = ext_map.extents if extents else ext_map.pointers
        found = build(runs, self.block_size, self.room.for_description)
        for block, content in found.blocks:
            if extents:
                filesystem.write_extents(block, content, number)
            else:
                filesystem.write_block(block, content)
        return Content(
            area=found.area,
            blocks=sum(run.blocks for run in runs) + len(found.blocks),
            size=size,
            flags=USES_EXTENTS if extents else 0,
        )

    def write(
        self, number: int, path: str, status: os.stat_result, content: Content, links: int
    ) -> None:
        """Write an inode with its attributes."""
        size = self.filesystem.inode_size
        inode = ext_inode.inode(status, content, links, self.moment, block_size=self.block_size)
        self.filesystem.write(number, inode[:size].ljust(size, b"\0"))
        attributes = _attributes(path)
        if attributes:
            try:
                self.filesystem.set_attributes(number, attributes)
            except CommandError as error:
                raise CommandError(error.what, where=path) from error

    def count_links(self) -> None:
        """Have every inode say how many names it has."""
        for number, links in self.links.items():
            inode = self.filesystem.read(number)
            struct.pack_into("<H", inode, LINKS, links)
            self.filesystem.write(number, inode)


def _features(filesystem: Filesystem, place: int) -> int:
    return int.from_bytes(filesystem.superblock[place : place + 4], "little")


def _runs(ranges: Iterable[tuple[int, int]], take: Take) -> list[Run]:
    """Room on the disk for ranges of a file's blocks: (first block, blocks)."""
    runs = []
    for logical, blocks in ranges:
        for physical, count in take(blocks):
            runs.append(Run(logical, physical, count))
            logical += count
    return runs


def _one_more(links: int, path: str) -> int:
    if links >= MOST_LINKS:
        raise BuildError(f"is one of more than {MOST_LINKS} links to a file", where=path)
    return links + 1


def _ranges(path: str, status: os.stat_result, block_size: int) -> list[tuple[int, int]]:
    """Where a file has data, in blocks: (first block, blocks)."""
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return [(0, -(-size // block_size))]
    return list(holes.blocks(path, size, block_size))


def _attributes(path: str) -> list[tuple[str, bytes]]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a filesystem without any
        return []
    return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names)]

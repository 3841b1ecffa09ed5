"""The tables of a squashfs image: blocks of metadata, inodes, directories.

Format: Linux, `fs/squashfs/squashfs_fs.h`, version 4.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from imagebuilder.codec import blocks
from imagebuilder.codec.model import DamagedError

BLOCK = 8192  # the greatest content of a block of metadata
RAW = 0x8000  # in a block's header: it is not compressed
NO_FRAGMENT = 0xFFFFFFFF
TYPES = {
    1: stat.S_IFDIR, 2: stat.S_IFREG, 3: stat.S_IFLNK, 4: stat.S_IFBLK, 5: stat.S_IFCHR,
    6: stat.S_IFIFO, 7: stat.S_IFSOCK,
}  # fmt: skip
EXTENDED = 7  # types above it are the same ones with more fields
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inode:
    """One file; `data` says where a regular one's content is, `start` and `offset` a directory's.

    `owner` and `group` are places in the table of ids, `data` the sizes of blocks as stored.
    """

    number: int
    mode: int
    owner: int
    group: int
    mtime: int
    size: int = 0
    start: int = 0
    offset: int = 0
    fragment: int = NO_FRAGMENT
    data: tuple[int, ...] = ()
    target: bytes = b""
    rdev: tuple[int, int] = (0, 0)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


Make = Callable[..., Inode]  # with what the kind of file has of its own


class Metadata:
    """Blocks of metadata that follow each other, to be read across their borders."""

    def __init__(self, read: Read, kind: str) -> None:
        self.read, self.kind = read, kind
        self.known: dict[int, tuple[bytes, int]] = {}

    def block(self, place: int) -> tuple[bytes, int]:
        """The content of the block at a place, and the place of the next."""
        if place not in self.known:
            (header,) = struct.unpack("<H", self.read(place, 2))
            length = header & ~RAW
            raw = self.read(place + 2, length)
            if not length:
                raise DamagedError("an empty block of metadata")
            content = raw if header & RAW else blocks.unpack(self.kind, raw, BLOCK)
            self.known[place] = (content, place + 2 + length)
        return self.known[place]

    def cursor(self, place: int, offset: int) -> Cursor:
        """A cursor at a byte of the block at a place."""
        return Cursor(self, place, offset)


class Cursor:
    """Reads on through blocks of metadata."""

    def __init__(self, metadata: Metadata, place: int, offset: int) -> None:
        self.metadata, self.place, self.offset = metadata, place, offset

    def take(self, length: int) -> bytes:
        """The next bytes."""
        content, after = self.metadata.block(self.place)
        end = self.offset + length
        if end <= len(content):  # almost always; the rest goes from block to block
            piece, self.offset = content[self.offset : end], end
            return piece
        pieces = []
        while length > 0:
            content, after = self.metadata.block(self.place)
            piece = content[self.offset : self.offset + length]
            pieces.append(piece)
            length -= len(piece)
            self.offset += len(piece)
            if length > 0:
                self.place, self.offset = after, 0
        return b"".join(pieces)

    def fields(self, layout: str) -> tuple[int, ...]:
        """The next fields, little-endian."""
        known = _layout(layout)
        return known.unpack(self.take(known.size))


@lru_cache(256)
def _layout(fields: str) -> struct.Struct:
    return struct.Struct(f"<{fields}")


def inode(cursor: Cursor, block: int) -> Inode:
    """The inode at a cursor; `block` is the size of blocks of data."""
    kind, mode, owner, group, mtime, number = cursor.fields("HHHHII")
    extended = kind > EXTENDED
    kind -= EXTENDED if extended else 0
    made = partial(
        Inode, number=number, mode=mode | TYPES[kind], owner=owner, group=group, mtime=mtime
    )
    if kind == 1:
        return _directory(cursor, made, extended=extended)
    if kind == 2:
        return _file(cursor, made, block, extended=extended)
    if kind == 3:
        _, length = cursor.fields("II")
        return made(target=cursor.take(length))
    if kind in (4, 5):
        _, device = cursor.fields("II")
        numbers = ((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00))
        return made(rdev=numbers)
    return made()


def entries(cursor: Cursor, size: int) -> Iterator[tuple[bytes, int, int]]:
    """The names in a directory of that size, each with the block and the offset of its inode."""
    left = size - 3
    while left > 0:
        count, start, _ = cursor.fields("III")
        left -= 12
        for _ in range(count + 1):
            offset, _, _, length = cursor.fields("HhHH")
            yield cursor.take(length + 1), start, offset
            left -= 9 + length


def _directory(cursor: Cursor, made: Make, *, extended: bool) -> Inode:
    if extended:
        _, size, start, _, _, offset, _ = cursor.fields("IIIIHHI")
    else:
        start, _, size, offset, _ = cursor.fields("IIHHI")
    return made(size=size, start=start, offset=offset)


def _file(cursor: Cursor, made: Make, block: int, *, extended: bool) -> Inode:
    if extended:
        start, size, _, _, fragment, offset, _ = cursor.fields("QQQIIII")
    else:
        start, fragment, offset, size = cursor.fields("IIII")
    count = size // block if fragment != NO_FRAGMENT else -(-size // block)
    data = cursor.fields(f"{count}I")
    return made(size=size, start=start, offset=offset, fragment=fragment, data=data)

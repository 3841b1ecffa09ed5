"""The files of a squashfs image, read where it lies: in a file of its own, or in another image.

Names, modes and sizes come from the image's tables alone, so that looking at an image of
gigabytes takes a moment; content is unpacked only for those who ask for it.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

from imagebuilder.codec import blocks
from imagebuilder.codec.model import DamagedError
from imagebuilder.errors import ConfigError
from imagebuilder.squashfs import superblock
from imagebuilder.squashfs.superblock import Superblock
from imagebuilder.squashfs.tables import NO_FRAGMENT, Inode, Metadata, Read, entries, inode

STORED = 1 << 24  # in a size of a block of data: it is not compressed
DEEPEST = 200
DAMAGE = (DamagedError, struct.error, ValueError, KeyError, IndexError, OverflowError, MemoryError)


class Image:
    """An image whose first byte is the first that `read` knows; `where` is for messages."""

    def __init__(self, read: Read, made: Superblock, where: str) -> None:
        self.made, self.where = made, where
        self.read = read
        head = read(0, superblock.LENGTH)
        (self.fragments,) = struct.unpack_from("<I", head, 16)
        (self.ids,) = struct.unpack_from("<H", head, 26)
        (self.root,) = struct.unpack_from("<Q", head, 32)
        self.id_table, _, self.inodes, self.directories, self.fragment_table = struct.unpack_from(
            "<QQQQQ", head, 48
        )
        self.metadata = Metadata(read, made.compressor)
        self.places: list[tuple[int, ...]] = []
        self.fragment = lru_cache(8)(self._fragment)

    def files(self) -> Iterator[tuple[str, Inode]]:
        """All files by path, directories before what is in them; raise ConfigError for damage."""
        try:
            yield from self._below("", self._inode(self.root >> 16, self.root & 0xFFFF), 0)
        except DAMAGE as error:
            raise ConfigError(f"damaged squashfs image: {error}", where=self.where) from error

    def owners(self) -> list[int]:
        """The table of user and group ids."""
        return [number for (number,) in self._rows(self.id_table, self.ids, "I")]

    def pieces(self, file: Inode) -> Iterator[bytes]:
        """The content of a regular file, block by block; raise ConfigError for damage."""
        try:
            left = file.size
            for stored, size in self.stored(file):
                content = self._content(stored, size, min(left, self.made.block))
                left -= len(content)
                yield content
            if file.fragment != NO_FRAGMENT:
                yield self.fragment(file.fragment)[file.offset : file.offset + left]
        except DAMAGE as error:
            raise ConfigError(f"damaged squashfs image: {error}", where=self.where) from error

    def stored(self, file: Inode) -> Iterator[tuple[bytes, int]]:
        """The blocks of a file as they are stored, each with its entry in the list of sizes."""
        place = file.start
        for size in file.data:
            length = size & ~STORED
            yield self.read(place, length) if length else b"", size
            place += length

    def _below(self, path: str, directory: Inode, depth: int) -> Iterator[tuple[str, Inode]]:
        if depth > DEEPEST:
            raise ConfigError("directories lead in a circle", where=self.where)
        if directory.size <= 3:
            return
        cursor = self.metadata.cursor(self.directories + directory.start, directory.offset)
        for name, block, offset in entries(cursor, directory.size):
            found = self._inode(block, offset)
            full = f"{path}/{os.fsdecode(name)}".lstrip("/")
            yield full, found
            if stat.S_ISDIR(found.mode):
                yield from self._below(full, found, depth + 1)

    def _inode(self, block: int, offset: int) -> Inode:
        return inode(self.metadata.cursor(self.inodes + block, offset), self.made.block)

    def _rows(self, table: int, count: int, layout: str) -> Iterator[tuple[int, ...]]:
        """The rows of a table, whose blocks of metadata a list of places names."""
        if not count:
            return
        (first,) = struct.unpack("<Q", self.read(table, 8))
        cursor = self.metadata.cursor(first, 0)
        for _ in range(count):
            yield cursor.fields(layout)

    def _fragment(self, number: int) -> bytes:
        rows = self._rows(self.fragment_table, self.fragments, "QII")
        self.places = self.places or list(rows)
        start, size, _ = self.places[number]
        return self._content(self.read(start, size & ~STORED), size, self.made.block)

    def _content(self, stored: bytes, size: int, most: int) -> bytes:
        if not size:
            return bytes(most)
        return stored if size & STORED else blocks.unpack(self.made.compressor, stored, most)


def opened(path: Path) -> Image:
    """The image that a file is; raise ConfigError if it is none, or cut off."""
    made = superblock.load(path)
    return Image(reader(path, 0), made, str(path))


def reader(path: Path, begin: int) -> Read:
    """Reads what lies in a file from `begin` on."""

    def read(start: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(begin + start)
            return file.read(length)

    return read


def is_same(old: tuple[Image, Inode], new: tuple[Image, Inode]) -> bool:
    """Whether two files have the same content; equal blocks are not unpacked."""
    (one, first), (other, second) = old, new
    if first.size != second.size:
        return False
    alike = one.made.compressor == other.made.compressor and one.made.block == other.made.block
    if alike and first.data == second.data and first.fragment == second.fragment == NO_FRAGMENT:
        pairs = zip(one.stored(first), other.stored(second), strict=True)
        if all(a == b for a, b in pairs):
            return True
    return all(a == b for a, b in _rows_of(one.pieces(first), other.pieces(second)))


def _rows_of(old: Iterator[bytes], new: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Both contents in pieces of equal lengths, as far as that is possible."""
    one, other = b"", b""
    for left, right in zip_longest(old, new, fillvalue=b""):
        one, other = one + left, other + right
        length = min(len(one), len(other))
        yield one[:length], other[:length]
        one, other = one[length:], other[length:]
    yield one, other

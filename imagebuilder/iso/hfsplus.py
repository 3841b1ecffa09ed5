"""The HFS+ catalog of an ISO image that Macs start from, which names the same files once more.

Apple's Technical Note TN1150, "HFS Plus Volume Format". xorriso makes it for `-hfsplus` and
grub-mkrescue: every file in one extent, every B-tree in one piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.iso.model import BLOCK, SECTOR, Iso
from imagebuilder.iso.tables import Read

SIGNATURES = (b"H+\0\4", b"HX\0\5")
HEADER = 1024  # where in the volume its header is
LEAF, FILE = -1, 2
TO_1904 = 2082844800  # seconds from 1904 to 1970
CONTENT_DATE, DATA_FORK = 16, 88  # where in a file's record


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFile:
    """A file's record at byte `place`; its content begins at byte `start`."""

    place: int
    start: int
    size: int
    block: int  # bytes

    def changed(self, size: int, moment: int) -> Iterator[tuple[int, bytes]]:
        """What has to be written where, if it gets another content that begins there too."""
        blocks = -(-size // self.block)
        yield self.place + CONTENT_DATE, struct.pack(">I", (moment + TO_1904) % 2**32)
        yield self.place + DATA_FORK, struct.pack(">Q", size)
        yield self.place + DATA_FORK + 12, struct.pack(">I", blocks)
        yield self.place + DATA_FORK + 20, struct.pack(">I", blocks)


def volume(iso: Iso, read: Read) -> int | None:
    """The first byte of the HFS+ volume in an image, if there is one."""
    begins = [part.start * BLOCK for part in iso.partitions]
    begins += _apple(read) if iso.apple else ()
    return next((at for at in begins if read(at + HEADER, 4) in SIGNATURES), None)


def files(begin: int, read: Read) -> Iterator[CatalogFile]:
    """All files that have a content; raise ValueError for a catalog that is not as xorriso's."""
    header = read(begin + HEADER, 512)
    (block,) = struct.unpack_from(">I", header, 40)
    size, _, _, first, count = struct.unpack_from(">QIIII", header, 272)
    if count * block < size:
        raise ValueError("the HFS+ catalog is in several pieces")
    catalog = begin + first * block
    node_size = struct.unpack_from(">H", read(catalog, 256), 32)[0]
    if not node_size:
        raise ValueError("the HFS+ catalog has no nodes")
    for place in range(catalog, catalog + size, node_size):
        node = read(place, node_size)
        if len(node) == node_size and struct.unpack_from(">b", node, 8)[0] == LEAF:
            for at in _file_records(node):
                length, start, pieces = _fork(node, at + DATA_FORK)
                if pieces > 1:
                    raise ValueError("a file of the HFS+ volume is in several pieces")
                if pieces:
                    start = begin + start * block
                    yield CatalogFile(place=place + at, start=start, size=length, block=block)


def _file_records(node: bytes) -> Iterator[int]:
    """Where in a leaf of the catalog the records of files are, behind their keys."""
    (count,) = struct.unpack_from(">H", node, 10)
    for number in range(1, count + 1):
        (key,) = struct.unpack_from(">H", node, len(node) - 2 * number)
        at = key + 2 + struct.unpack_from(">H", node, key)[0]
        if struct.unpack_from(">h", node, at)[0] == FILE:
            yield at


def _fork(node: bytes, place: int) -> tuple[int, int, int]:
    """A content's length, its first block, and in how many pieces it is."""
    (length,) = struct.unpack_from(">Q", node, place)
    extents = [struct.unpack_from(">II", node, place + 16 + 8 * number) for number in range(8)]
    return length, extents[0][0], sum(bool(count) for _, count in extents)


def _apple(read: Read) -> Iterator[int]:
    """Where the partitions of the Apple partition map begin."""
    for unit in (BLOCK, SECTOR):
        entry = read(unit, BLOCK)
        if entry[:2] == b"PM":
            for number in range(1, min(struct.unpack_from(">I", entry, 4)[0], 63) + 1):
                found = read(number * unit, BLOCK)
                if found[:2] == b"PM":
                    yield struct.unpack_from(">I", found, 8)[0] * unit
            return

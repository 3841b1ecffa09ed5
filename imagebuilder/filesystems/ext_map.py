"""How an inode of ext2, ext3 or ext4 says where its content lies: by extents, or block by block.

The formats are those of Linux, Documentation/filesystems/ext4 ("The Contents of inode.i_block").
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

HEADER = struct.Struct("<HHHHI")
EXTENT = struct.Struct("<IHHI")
ONE = struct.Struct("<HHHHI IHHI 36x")  # the header, an extent, and room for three more
INDEX = struct.Struct("<IIHH")
MAGIC = 0xF30A
LONGEST = 2**15  # blocks of an extent that is written
IN_INODE = 4  # entries for which an inode has room
DIRECT = 12
POINTER = 4  # bytes of a block's number

Take = Callable[[int], Iterable[tuple[int, int]]]


class Run(NamedTuple):
    """Blocks of a file that lie in a row on the disk."""

    logical: int
    physical: int
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What goes into the inode, and the blocks, by their numbers, that say the rest."""

    area: bytes
    blocks: tuple[tuple[int, bytes], ...] = ()


def extents(runs: Sequence[Run], block_size: int, take: Take) -> Mapped:
    """A tree of extents, with blocks for it from `take`."""
    if len(runs) == 1 and runs[0].blocks <= LONGEST:  # almost every file
        return Mapped(area=_alone(*runs[0]))
    entries = [
        (run.logical, EXTENT.pack(run.logical, run.blocks, run.physical >> 32, _low(run.physical)))
        for run in _split(runs)
    ]
    capacity = (block_size - HEADER.size) // EXTENT.size
    blocks: list[tuple[int, bytes]] = []
    depth = 0
    while len(entries) > IN_INODE:
        parts = [entries[at : at + capacity] for at in range(0, len(entries), capacity)]
        places = list(_each(take(len(parts))))
        blocks += [
            (place, _node(part, capacity, depth).ljust(block_size, b"\0"))
            for place, part in zip(places, parts, strict=True)
        ]
        entries = [
            (part[0][0], INDEX.pack(part[0][0], _low(place), place >> 32, 0))
            for place, part in zip(places, parts, strict=True)
        ]
        depth += 1
    area = _node(entries, IN_INODE, depth).ljust(HEADER.size + IN_INODE * EXTENT.size, b"\0")
    return Mapped(area=area, blocks=tuple(blocks))


def pointers(runs: Sequence[Run], block_size: int, take: Take) -> Mapped:
    """The numbers of the first 12 blocks, and blocks of numbers of all others."""
    each = block_size // POINTER
    direct, tables = _tables(runs, each)
    first, blocks = _placed(tables, take)
    second, more = _placed(_grouped({n - 1: at for n, at in first.items() if n}, each), take)
    # What the inode names itself is the first table of numbers, of tables, and of those.
    third, most = _placed(_grouped({n - 1: at for n, at in second.items() if n}, each), take)
    direct += [first.get(0, 0), second.get(0, 0), third.get(0, 0)]
    area = struct.pack(f"<{DIRECT + 3}I", *direct)
    return Mapped(area=area, blocks=(*blocks, *more, *most))


def _alone(logical: int, physical: int, blocks: int) -> bytes:
    low, high = _low(physical), physical >> 32
    return ONE.pack(MAGIC, 1, IN_INODE, 0, 0, logical, blocks, high, low)


def _split(runs: Iterable[Run]) -> Iterator[Run]:
    for run in runs:
        for done in range(0, run.blocks, LONGEST):
            yield Run(run.logical + done, run.physical + done, min(LONGEST, run.blocks - done))


def _node(entries: Sequence[tuple[int, bytes]], capacity: int, depth: int) -> bytes:
    header = HEADER.pack(MAGIC, len(entries), capacity, depth, 0)
    return header + b"".join(entry for _, entry in entries)


def _low(number: int) -> int:
    return number & 0xFFFFFFFF


def _each(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    for first, count in ranges:
        yield from range(first, first + count)


def _tables(runs: Iterable[Run], each: int) -> tuple[list[int], dict[int, array[int]]]:
    """The direct blocks, and tables of the others by their place; only such as are not empty."""
    direct = [0] * DIRECT
    tables: dict[int, array[int]] = {}
    for logical, physical, count in runs:
        for number in range(logical, min(logical + count, DIRECT)):
            direct[number] = physical + number - logical
        at, end = max(logical, DIRECT), logical + count
        while at < end:
            table, start = divmod(at - DIRECT, each)
            length = min(end - at, each - start)
            numbers = array("I", range(physical + at - logical, physical + at - logical + length))
            tables.setdefault(table, array("I", bytes(POINTER * each)))[start : start + length] = (
                numbers
            )
            at += length
    return direct, tables


def _grouped(places: Mapping[int, int], each: int) -> dict[int, array[int]]:
    tables: dict[int, array[int]] = {}
    for number, place in places.items():
        table = tables.setdefault(number // each, array("I", bytes(POINTER * each)))
        table[number % each] = place
    return tables


def _placed(
    tables: Mapping[int, array[int]], take: Take
) -> tuple[dict[int, int], list[tuple[int, bytes]]]:
    """Where each table goes, and the blocks to be written there."""
    places = dict(zip(tables, _each(take(len(tables))), strict=True))
    return places, [(places[number], table.tobytes()) for number, table in tables.items()]

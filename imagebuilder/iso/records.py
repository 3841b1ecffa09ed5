"""Directory records (ECMA-119, 9.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.iso.model import SECTOR

DIRECTORY, MULTI_EXTENT = 0x02, 0x80
SELF_AND_PARENT = (b"\0", b"\1")
SMALLEST = 34


class DamagedError(ValueError):
    """A record at `place` in its directory is none."""

    def __init__(self, place: int) -> None:
        super().__init__(f"a damaged directory record at {place}")
        self.place = place


@dataclass(frozen=True, slots=True)
class Record:
    """One directory record, as it is; `start` and `size` in bytes."""

    name: bytes
    start: int
    size: int
    flags: int
    date: bytes
    area: bytes


def split(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The records in a directory, each with its place in it; raise DamagedError."""
    place = 0
    while place < len(content):
        length = content[place]
        if not length:
            place += SECTOR - place % SECTOR
            continue
        raw = content[place : place + length]
        if length < SMALLEST or len(raw) < length or raw[32] > length - 33:
            raise DamagedError(place)
        yield place, raw
        place += length


def parse(raw: bytes) -> Record:
    """What one record says."""
    attributes, sector, _, size = struct.unpack_from("<BIII", raw, 1)
    start = (sector + attributes) * SECTOR
    name = raw[33 : 33 + raw[32]]
    return Record(name, start, size, raw[25], raw[18:25], raw[area(raw) :])


def area(raw: bytes) -> int:
    """Where in a record its system use area begins."""
    return 33 + int(raw[32]) + (raw[32] + 1) % 2

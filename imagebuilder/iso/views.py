"""Where the records of files lie, in every tree of directories that an ISO image has.

One file has several records: ISO 9660's with Rock Ridge, Joliet's, and both once more in an image
whose first partition can be mounted by itself, with places counted from its begin (xorriso's
`-partition_offset`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.iso import records
from imagebuilder.iso.model import BLOCK, SECTOR, Iso
from imagebuilder.iso.tables import Read

FIRST = 16  # the sector of the first volume descriptor
PRIMARY, SUPPLEMENTARY, TERMINATOR = 1, 2, 255
JOLIET = (b"%/@", b"%/C", b"%/E")
MOST = 64  # descriptors


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One volume descriptor with a tree of its own. `base` is where its places are counted from."""

    place: int
    base: int
    joliet: bool
    root: tuple[int, int]  # first byte and length


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file's record at byte `place`; the file's content begins at byte `start`."""

    place: int
    start: int
    size: int
    raw: bytes
    whole: bool  # whether the content is in one piece


def views(iso: Iso, read: Read) -> list[View]:
    """All of them; raise ValueError for one of another kind, or with checksums of itself."""
    begins = {0, *(part.start * BLOCK for part in iso.partitions)}
    places = [begin for begin in sorted(begins) if _descriptor(read, begin + FIRST * SECTOR)]
    found = [view for base in places for view in _views(read, base)]
    if _descriptor(read, 48 * SECTOR) and 32 * SECTOR not in places:
        raise ValueError("has a second session")
    return found


def file_records(view: View, read: Read) -> Iterator[FileRecord]:
    """All records of a view that are no directories; raise ValueError if one is damaged."""
    pending, seen = [view.root], set[int]()
    while pending:
        start, size = pending.pop()
        if start in seen:
            continue
        seen.add(start)
        going_on = False
        for offset, raw in records.split(read(start, size)):
            record = records.parse(raw)
            going, going_on = going_on, bool(record.flags & records.MULTI_EXTENT)
            if not record.flags & records.DIRECTORY:
                yield FileRecord(
                    place=start + offset,
                    start=view.base + record.start,
                    size=record.size,
                    raw=raw,
                    whole=not going and not going_on,
                )
            elif record.name not in records.SELF_AND_PARENT:
                pending.append((view.base + record.start, record.size))


def _views(read: Read, base: int) -> Iterator[View]:
    for number in range(FIRST, FIRST + MOST):
        place = base + number * SECTOR
        sector = _descriptor(read, place)
        if not sector or sector[0] == TERMINATOR:
            if read(place + SECTOR, 9) == b"libisofs_":
                raise ValueError("has checksums of itself")
            return
        joliet = sector[0] == SUPPLEMENTARY and sector[88:91] in JOLIET
        if sector[0] == SUPPLEMENTARY and not joliet:
            raise ValueError("has a supplementary volume that is not Joliet's")
        if sector[0] in (PRIMARY, SUPPLEMENTARY):
            start, _, size = struct.unpack_from("<III", sector, 158)
            yield View(place=place, base=base, joliet=joliet, root=(base + start * SECTOR, size))


def _descriptor(read: Read, place: int) -> bytes:
    """The volume descriptor there, if there is one."""
    sector = read(place, SECTOR)
    return sector if len(sector) == SECTOR and sector[1:6] == b"CD001" else b""

"""The partition table of a disk, as its readers see it: GPT (UEFI 2.10, chapter 5) or MBR.

What is read was made by somebody else: every number in it is doubted before it is used.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from imagebuilder.disk.model import Table
from imagebuilder.errors import ConfigError
from imagebuilder.existing.model import Area, Contents
from imagebuilder.existing.signature import Read, identify
from imagebuilder.sizes import Size

SECTORS = (512, 4096)
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
MOST_ENTRIES, LARGEST_ENTRY = 1024, 4096
EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
MOST_LOGICAL = 128
FIRST_LOGICAL = 5


def load(path: Path) -> Contents:
    """What is on the raw disk in the file `path`; raise ConfigError for what is no disk."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        fd = file.fileno()
        return contents(lambda offset, length: os.pread(fd, length, offset), size, str(path))


def contents(read: Read, size: int, where: str) -> Contents:
    """What is on a disk of `size` bytes, which errors call `where`."""
    for sector in SECTORS:
        areas = _gpt(read, size, sector)
        if areas is not None:
            return _checked(_found(read, size, Table.GPT, areas), sector, where)
    whole = Area(number=0, offset=Size(0), size=Size(size), content=identify(read))
    if whole.content is None:
        return _checked(_found(read, size, Table.MBR, _mbr(read, where)), SECTORS[0], where)
    return Contents(size=Size(size), table=None, sector=SECTORS[0], areas=(whole,))


def _found(read: Read, size: int, table: Table, areas: Iterable[Area]) -> Contents:
    def part(area: Area) -> Read:
        def inner(offset: int, length: int) -> bytes:
            return read(area.offset + offset, max(0, min(length, area.size - offset)))

        return inner

    known = tuple(replace(area, content=identify(part(area))) for area in areas)
    return Contents(size=Size(size), table=table, sector=SECTORS[0], areas=known)


def _checked(found: Contents, sector: int, where: str) -> Contents:
    for area in found.areas:
        end = area.offset + area.size
        if end > found.size:
            raise ConfigError(
                f"{area} ends at byte {int(end)}, the disk has {int(found.size)}",
                where=where,
                hint="the file is not complete; copy or download it again",
            )
    return replace(found, sector=sector)


def _gpt(read: Read, size: int, sector: int) -> list[Area] | None:
    """The entries of the primary table, or of the backup if that is damaged; None without one."""
    protected = _is_protected(read(0, 512))
    for place in (sector, size - sector):
        header = read(place, HEADER.size)
        if len(header) == HEADER.size and header[:8] == b"EFI PART":
            areas = _entries(read, header, sector)
            if areas is not None:
                return areas
        if not protected:
            return None
    return None


def _is_protected(first: bytes) -> bool:
    return first[510:512] == b"\x55\xaa" and any(e[4] == PROTECTIVE for e in _records(first))


def _entries(read: Read, header: bytes, sector: int) -> list[Area] | None:
    _, _, length, crc, _, _, _, _, _, _, array, count, width, sums = HEADER.unpack(header)
    blank = header[:16] + bytes(4) + header[20:92]
    if length != len(header) or zlib.crc32(blank) != crc:
        return None
    if count > MOST_ENTRIES or not ENTRY.size <= width <= LARGEST_ENTRY:
        return None
    raw = read(array * sector, count * width)
    if len(raw) != count * width or zlib.crc32(raw) != sums:
        return None
    entries = ((n + 1, raw[n * width : n * width + ENTRY.size]) for n in range(count))
    return [_entry(n, entry, sector) for n, entry in entries if entry[:16] != bytes(16)]


def _entry(number: int, raw: bytes, sector: int) -> Area:
    kind, own, first, last, _, name = ENTRY.unpack(raw)
    return Area(
        number=number,
        offset=Size(first * sector),
        size=Size(max(0, last + 1 - first) * sector),
        type=str(UUID(bytes_le=kind)).upper(),
        uuid=str(UUID(bytes_le=own)),
        name=name.decode("utf-16-le", errors="replace").split("\0")[0],
    )


def _mbr(read: Read, where: str) -> list[Area]:
    first = read(0, 512)
    records = list(_records(first)) if first[510:512] == b"\x55\xaa" else []
    if not any(entry[4] for entry in records) or any(e[0] not in (0, 0x80) for e in records):
        raise ConfigError(
            "there is neither a partition table nor a filesystem in it",
            where=where,
            hint="a disk image is needed: raw, qcow2, vmdk, vhdx or vdi",
        )
    disk = int.from_bytes(first[440:444], "little")
    areas: list[Area] = []
    extended = 0
    for number, entry in enumerate(records, 1):
        if entry[4] in EXTENDED:
            extended = _span(entry)[0]
        elif entry[4]:
            areas.append(_partition(disk, number, entry, 0))
    logical = enumerate(_logical(read, extended) if extended else (), FIRST_LOGICAL)
    return [*areas, *(_partition(disk, n, entry, base) for n, (entry, base) in logical)]


def _logical(read: Read, extended: int) -> Iterator[tuple[bytes, int]]:
    """Entries of the chain of extended boot records, with the sector that each counts from."""
    here = extended
    for _ in range(MOST_LOGICAL):
        block = read(here * SECTORS[0], 512)
        if block[510:512] != b"\x55\xaa":
            return
        own, following, *_ = _records(block)
        if own[4]:
            yield own, here
        if following[4] not in EXTENDED:
            return
        here = extended + _span(following)[0]


def _partition(disk: int, number: int, entry: bytes, base: int) -> Area:
    start, length = _span(entry)
    return Area(
        number=number,
        offset=Size((base + start) * SECTORS[0]),
        size=Size(length * SECTORS[0]),
        type=f"{entry[4]:02x}",
        uuid=f"{disk:08x}-{number:02x}",
    )


def _records(block: bytes) -> Iterator[bytes]:
    return (block[446 + 16 * n : 462 + 16 * n] for n in range(4))


def _span(entry: bytes) -> tuple[int, int]:
    start, length = struct.unpack_from("<II", entry, 8)
    return start, length

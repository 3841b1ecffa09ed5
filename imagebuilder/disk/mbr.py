"""MBR partition tables, byte by byte (UEFI 2.10, section 5.2; extended ones as Linux reads them).

Written here rather than by a program so that equal disks get equal bytes, and so that a plan
knows them before there is a file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from imagebuilder.disk.model import Slot
from imagebuilder.errors import ConfigError

HEADS, SECTORS, CYLINDERS = 255, 63, 1024
EXTENDED = 0x0F  # extended partition whose entries count in LBA
FIRST_LOGICAL = 5
MAGIC = b"\x55\xaa"


def type_byte(text: str) -> int:
    """The partition type that a hexadecimal number (`83`, `0x83`) stands for."""
    if not re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,2}", text) or not int(text, 16):
        raise ConfigError(
            f"not an MBR partition type: {text!r}", hint="a hexadecimal byte like 0x83"
        )
    return int(text, 16)


def pieces(
    size: int, sector: int, align: int, signature: int, slots: Iterable[Slot]
) -> tuple[tuple[int, bytes], ...]:
    """Table and chained extended tables as (offset, bytes); the 440 bytes of boot code stay.

    Logical partitions (from 5) lie one alignment unit after their own table (EBR).
    """
    listed = tuple(slots)
    entries = [bytes(16)] * 4
    for slot in listed:
        if slot.number < FIRST_LOGICAL:
            entries[slot.number - 1] = _slot_entry(slot, sector)
    logical = sorted(
        (slot for slot in listed if slot.number >= FIRST_LOGICAL), key=lambda slot: slot.offset
    )
    if logical:
        start = (logical[0].offset - align) // sector
        free = _extended_entry(slot.number for slot in listed)
        entries[free - 1] = _entry(EXTENDED, start, size // sector - start)
    table = struct.pack("<IH", signature, 0) + b"".join(entries) + MAGIC
    return ((440, table), *_chain(logical, sector, align))


def _extended_entry(numbers: Iterable[int]) -> int:
    """The entry for the extended partition: the first one after the primaries that is free."""
    primaries = {number for number in numbers if number < FIRST_LOGICAL}
    after = max(primaries, default=0) + 1
    candidates: tuple[int, ...] = (*range(after, FIRST_LOGICAL), *range(1, FIRST_LOGICAL))
    return next(number for number in candidates if number not in primaries)


def _chain(logical: Sequence[Slot], sector: int, align: int) -> list[tuple[int, bytes]]:
    """One EBR for each logical partition, which names it and the next EBR."""
    tables: list[tuple[int, bytes]] = []
    for slot, after in zip_longest(logical, logical[1:]):
        own = _slot_entry(slot, sector, base=(slot.offset - align) // sector)
        link = bytes(16)
        if after:
            first = (logical[0].offset - align) // sector
            start = (after.offset - align) // sector
            link = _entry(0x05, start, (after.size + align) // sector, base=first)
        tables.append((slot.offset - align + 446, own + link + bytes(32) + MAGIC))
    return tables


def _slot_entry(slot: Slot, sector: int, base: int = 0) -> bytes:
    start, count = slot.offset // sector, slot.size // sector
    return _entry(type_byte(slot.type), start, count, base=base, boot=slot.boot)


def _entry(kind: int, start: int, count: int, *, base: int = 0, boot: bool = False) -> bytes:
    """Table 5.2; `start` is absolute, and written relative to `base`."""
    status = 0x80 if boot else 0
    ends = _chs(start), kind, _chs(start + count - 1)
    return struct.pack("<B3sB3sII", status, *ends, start - base, count)


def _chs(lba: int) -> bytes:
    """Cylinder, head and sector for 255 heads and 63 sectors; clamped where they end."""
    cylinder, rest = divmod(lba, HEADS * SECTORS)
    head, sector = divmod(rest, SECTORS)
    if cylinder >= CYLINDERS:
        cylinder, head, sector = CYLINDERS - 1, HEADS - 1, SECTORS - 1
    return bytes((head, (cylinder >> 8 << 6) | (sector + 1), cylinder & 0xFF))

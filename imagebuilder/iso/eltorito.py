"""The El Torito boot catalog ("El Torito" Bootable CD-ROM Format Specification 1.0)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from imagebuilder.iso.model import BootImage, Platform

ENTRY = 32
BOOTABLE, NOT_BOOTABLE, MORE, LAST, EXTENSION = 0x88, 0x00, 0x90, 0x91, 0x44
FLOPPIES = {1: 1228800, 2: 1474560, 3: 2949120}  # bytes, by emulation
SECTOR = 512  # what the catalog counts in


class _Header(NamedTuple):
    platform: int
    entries: int


def images(catalog: bytes) -> tuple[BootImage, ...]:
    """The boot images that a catalog names; raise ValueError if it is none."""
    if len(catalog) < 2 * ENTRY or catalog[0] != 1 or catalog[30:32] != b"\x55\xaa":
        raise ValueError("no validation entry")
    first = _image(catalog[ENTRY : 2 * ENTRY], catalog[1])
    return (first, *_sections(catalog))


def _sections(catalog: bytes) -> Iterator[BootImage]:
    header = _Header(catalog[1], 0)
    for place in count(2 * ENTRY, ENTRY):
        entry = catalog[place : place + ENTRY]
        if len(entry) < ENTRY:
            return
        if entry[0] in (MORE, LAST):
            header = _Header(entry[1], struct.unpack_from("<H", entry, 2)[0])
        elif entry[0] != EXTENSION:
            if not header.entries:
                return
            header = header._replace(entries=header.entries - 1)
            yield _image(entry, header.platform)


def _image(entry: bytes, platform: int) -> BootImage:
    emulation = entry[1] & 15
    sectors, start = struct.unpack_from("<HI", entry, 6)
    known = platform in {member.value for member in Platform}
    return BootImage(
        platform=Platform(platform) if known else None,
        emulation=emulation,
        sector=start,
        size=FLOPPIES.get(emulation, sectors * SECTOR),
        bootable=entry[0] == BOOTABLE,
    )

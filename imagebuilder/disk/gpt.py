"""GUID partition tables, byte by byte (UEFI 2.10, section 5.3).

Written here rather than by a program so that equal disks get equal bytes, and so that a plan
knows them before there is a file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from uuid import UUID

from imagebuilder.disk.model import Slot
from imagebuilder.errors import ConfigError, nearest

ENTRIES, ENTRY = 128, 128  # how many, and how many bytes each
NAME = 36  # UTF-16 units
BIOS_BOOT = "EF02"

# The codes of sgdisk(8) that disk images use; any other type can be given as a GUID.
TYPES = {
    "0700": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",  # Microsoft basic data
    "0C01": "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",  # Microsoft reserved
    "2700": "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC",  # Windows recovery
    "4100": "9E1A2D38-C612-4316-AA26-8B49521E5A8B",  # PReP boot
    "8200": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",  # Linux swap
    "8300": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",  # Linux filesystem
    "8301": "8DA63339-0007-60C0-C436-083AC8230908",  # Linux reserved
    "8302": "933AC7E1-2EB4-4F13-B844-0E14E2AEF915",  # Linux /home
    "8303": "44479540-F297-41B2-9AF7-D131D5F0458A",  # Linux x86 root
    "8304": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",  # Linux x86-64 root
    "8305": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",  # Linux ARM64 root
    "8306": "3B8F8425-20E0-4F3B-907F-1A25A76F98E8",  # Linux /srv
    "8307": "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",  # Linux ARM32 root
    "8308": "7FFEC5C9-2D00-49B7-8941-3EA10A5586B7",  # Linux dm-crypt
    "8309": "CA7D7CCB-63ED-4C53-861C-1742536059CC",  # Linux LUKS
    "8310": "4D21B016-B534-45C2-A9FB-5C16E091FD2D",  # Linux /var
    "8E00": "E6D6D379-F507-44C2-A23C-238F2A3DF928",  # Linux LVM
    "A501": "83BD6B9D-7F41-11DC-BE0B-001560B84F0F",  # FreeBSD boot
    "A502": "516E7CB5-6ECF-11D6-8FF8-00022D09712B",  # FreeBSD swap
    "A503": "516E7CB6-6ECF-11D6-8FF8-00022D09712B",  # FreeBSD UFS
    "A504": "516E7CBA-6ECF-11D6-8FF8-00022D09712B",  # FreeBSD ZFS
    "BF00": "6A85CF4D-1DD2-11B2-99A6-080020736631",  # Solaris root
    "BF01": "6A898CC3-1DD2-11B2-99A6-080020736631",  # Solaris /usr, ZFS
    "EA00": "BC13C2FF-59E6-4262-A352-B275FD6F7172",  # XBOOTLDR
    "EF00": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",  # EFI system
    "EF02": "21686148-6449-6E6F-744E-656564454649",  # BIOS boot
    "FD00": "A19D880F-05FC-4D3B-A006-743F0F84911E",  # Linux RAID
}  # fmt: skip


def type_guid(code: str) -> UUID:
    """The type GUID for an sgdisk code or a spelled-out GUID; raise ConfigError for others."""
    if re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", code):
        return UUID(code)
    short = code.upper().removeprefix("0X")
    if short not in TYPES:
        hint = nearest(short, TYPES) or f"known codes: {', '.join(TYPES)}, or any GUID"
        raise ConfigError(f"not a GPT partition type: {code!r}", hint=hint)
    return UUID(TYPES[short])


def is_bios_boot(code: str) -> bool:
    """Whether a partition of this type is where GRUB's core image goes on a GPT disk."""
    return type_guid(code) == UUID(TYPES[BIOS_BOOT])


def usable(size: int, sector: int) -> tuple[int, int]:
    """The first usable byte of a disk, and the first byte after the last usable one."""
    array = ENTRIES * ENTRY // sector
    return (2 + array) * sector, size - (1 + array) * sector


def pieces(
    size: int, sector: int, disk: UUID, slots: Iterable[Slot]
) -> tuple[tuple[int, bytes], ...]:
    """Protective MBR, primary and backup table as (offset, bytes); 440 bytes of boot code stay."""
    entries = _entries(sector, slots)
    last = size // sector - 1
    backup = last - len(entries) // sector
    return (
        (440, _protective(last)),
        (sector, _header(sector, (1, last), 2, disk, entries).ljust(sector, b"\0") + entries),
        (backup * sector, entries + _header(sector, (last, 1), backup, disk, entries)),
    )


def _entries(sector: int, slots: Iterable[Slot]) -> bytes:
    table = bytearray(ENTRIES * ENTRY)
    for slot in slots:
        assert slot.uuid is not None
        entry = struct.pack(
            "<16s16sQQQ72s",
            type_guid(slot.type).bytes_le,
            slot.uuid.bytes_le,
            slot.offset // sector,
            (slot.offset + slot.size) // sector - 1,
            0,  # attributes
            slot.name.encode("utf-16-le")[: 2 * NAME],
        )
        table[(slot.number - 1) * ENTRY : slot.number * ENTRY] = entry
    return bytes(table)


def _header(sector: int, lbas: tuple[int, int], array: int, disk: UUID, entries: bytes) -> bytes:
    """Table 5.5: `lbas` are this header's and the other's, `array` where its entries begin."""
    first = 2 + len(entries) // sector
    last = max(lbas) - len(entries) // sector - 1
    body = struct.pack(
        "<8sIIIIQQQQ16sQIII",
        b"EFI PART", 0x10000, 92, 0, 0,
        *lbas, first, last,
        disk.bytes_le, array, ENTRIES, ENTRY, zlib.crc32(entries),
    )  # fmt: skip
    header = body[:16] + struct.pack("<I", zlib.crc32(body)) + body[20:]
    return header if lbas[0] == 1 else header.ljust(sector, b"\0")


def _protective(last: int) -> bytes:
    """Section 5.2.3: one entry of type 0xEE over the whole disk, or as far as 32 bits reach."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 2**32 - 1))
    return bytes(6) + entry + bytes(48) + b"\x55\xaa"

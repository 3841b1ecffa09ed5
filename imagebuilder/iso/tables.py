"""Partition tables in the first sectors of an ISO image."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

from imagebuilder.iso.model import BLOCK, Partition

Read = Callable[[int, int], bytes]  # bytes from, how many
SIGNATURE = b"\x55\xaa"
PROTECTIVE = 0xEE
ISOLINUX = bytes.fromhex("fbc07870")  # isohybrid's own mark
LOADERS = ((ISOLINUX, "isolinux"), (b"GRUB", "GRUB"), (b"isolinux", "isolinux"))
CODE = 440  # bytes of an MBR that are code


def mbr(read: Read) -> tuple[Partition, ...]:
    """The partitions of the MBR, the protective one included."""
    sector = read(0, BLOCK)
    if sector[510:] != SIGNATURE:
        return ()
    found = []
    for number in range(1, 5):
        entry = sector[430 + 16 * number : 446 + 16 * number]
        start, count = struct.unpack_from("<II", entry, 8)
        if count:
            found.append(
                Partition(
                    table="MBR",
                    number=number,
                    type=f"0x{entry[4]:02x}",
                    start=start,
                    count=count,
                    active=entry[0] == 0x80,
                )
            )
    return tuple(found)


def loader(read: Read) -> str:
    """Whose code the first sector has, if any."""
    sector = read(0, BLOCK)
    if sector[510:] != SIGNATURE or not any(sector[:CODE]):
        return ""
    return next((name for mark, name in LOADERS if mark in sector[:CODE]), "unknown code")


def gpt(read: Read) -> tuple[Partition, ...]:
    """The partitions of the GPT."""
    header = read(BLOCK, BLOCK)
    if header[:8] != b"EFI PART":
        return ()
    table, count, size = struct.unpack_from("<QII", header, 72)
    found = []
    for number in range(min(count, 1024)):
        entry = read(table * BLOCK + number * size, size)
        if len(entry) < 128 or not any(entry[:16]):
            continue
        first, last = struct.unpack_from("<QQ", entry, 32)
        found.append(
            Partition(
                table="GPT",
                number=number + 1,
                type=str(uuid.UUID(bytes_le=entry[:16])),
                start=first,
                count=last - first + 1,
                name=entry[56:128].decode("utf-16-le", errors="replace").rstrip("\0"),
            )
        )
    return tuple(found)


def apple(read: Read) -> bool:
    """Whether there is an Apple partition map."""
    return b"PM" in (read(BLOCK, 2), read(2048, 2))

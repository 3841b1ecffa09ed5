"""GRUB's boot blocks at their places on a disk, as `grub-bios-setup --no-rs-codes` writes them.

That program wants to find its own files on a block device. The format is GRUB 2's
`include/grub/i386/pc/boot.h` and `util/setup.c`.
"""

from __future__ import annotations

import struct

from imagebuilder.boot.model import BootBlocks
from imagebuilder.errors import ConfigError, SpaceError

SECTOR = 512
KERNEL_SECTOR = 0x5C  # u64: where boot.img finds the first sector of core.img
BOOT_DRIVE, ANY_DRIVE = 0x64, 0xFF  # u8: boot from the drive that the BIOS names
DRIVE_CHECK, NO_CHECK = 0x66, b"\x90\x90"  # a jump that only floppies need; two nops
KEPT = (slice(0x03, 0x5A), slice(0x1B8, 0x1FE))  # BIOS parameters; disk id and partition table
BLOCK_LIST = struct.Struct("<QHH")  # first sector, sectors, segment; the list grows downwards
FIRST_LIST = 0x1F4
LOADED_AT = 0x820  # the segment of core.img's second sector: 0x8200 / 16
MOST = (0x78000 - 0x9000) // SECTOR  # sectors; above that is the BIOS's own memory


def embed(
    blocks: BootBlocks, sector0: bytes, first_lba: int, sectors: int
) -> tuple[tuple[int, bytes], ...]:
    """What to write at which offset, given the disk's first sector and the embedding area.

    Raise SpaceError if the loader does not fit, ConfigError for sectors not of 512 bytes.
    """
    if len(sector0) != SECTOR:
        raise ConfigError(
            f"GRUB cannot start by BIOS from sectors of {len(sector0)} bytes",
            hint="use sectors of 512 bytes, or boot by UEFI",
        )
    taken = -(-len(blocks.core) // SECTOR)
    room = min(sectors, MOST)
    if taken > room:
        raise SpaceError(
            f"GRUB's core image takes {taken} sectors, and there is room for {room}",
            where=f"the embedding area at sector {first_lba}",
            hint="leave 1 MiB before the first partition, or make the BIOS boot partition larger",
        )
    core = _core(blocks.core.ljust(taken * SECTOR, b"\0"), first_lba)
    return (0, _boot(blocks.boot, sector0, first_lba)), (first_lba * SECTOR, core)


def _boot(boot: bytes, sector0: bytes, first_lba: int) -> bytes:
    sector = bytearray(boot)
    for kept in KEPT:
        sector[kept] = sector0[kept]
    struct.pack_into("<Q", sector, KERNEL_SECTOR, first_lba)
    sector[BOOT_DRIVE] = ANY_DRIVE
    sector[DRIVE_CHECK : DRIVE_CHECK + len(NO_CHECK)] = NO_CHECK
    return bytes(sector)


def _core(core: bytes, first_lba: int) -> bytes:
    """The core image with one block list, which says where all but its first sector lies."""
    image = bytearray(core)
    place = FIRST_LIST
    while BLOCK_LIST.unpack_from(image, place)[1]:
        image[place : place + BLOCK_LIST.size] = bytes(BLOCK_LIST.size)
        place -= BLOCK_LIST.size
    rest = len(image) // SECTOR - 1
    BLOCK_LIST.pack_into(image, FIRST_LIST, first_lba + 1, rest, LOADED_AT)
    return bytes(image)

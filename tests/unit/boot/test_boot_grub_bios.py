import struct

import pytest

from imagebuilder.boot.grub_bios import MOST, embed
from imagebuilder.boot.model import BootBlocks
from imagebuilder.errors import ConfigError, SpaceError

BOOT = bytes([0xB0]) * 510 + b"\x55\xaa"
SECTOR0 = bytes([0xD1]) * 510 + b"\x55\xaa"


def core(sectors: int, lists: int = 1) -> bytes:
    """A core image of so many sectors whose first one has so many block lists."""
    image = bytearray(b"\xc0" * 512 * sectors)
    for number in range(lists):
        struct.pack_into("<QHH", image, 0x1F4 - 12 * number, 99, 1, 0x820)
    image[0x1F4 - 12 * lists : 0x200 - 12 * lists] = bytes(12)
    return bytes(image)


def test_the_boot_sector_goes_to_the_start_and_the_core_to_its_area() -> None:
    pieces = embed(BootBlocks(boot=BOOT, core=core(3)), SECTOR0, 2048, 100)
    assert [(offset, len(content)) for offset, content in pieces] == [(0, 512), (2048 * 512, 1536)]


def test_the_bios_parameters_and_the_partition_table_stay() -> None:
    (_, boot), _ = embed(BootBlocks(boot=BOOT, core=core(2)), SECTOR0, 1, 100)
    assert boot[0x03:0x5A] == SECTOR0[0x03:0x5A]
    assert boot[0x1B8:0x1FE] == SECTOR0[0x1B8:0x1FE]
    assert boot[0x68:0x1B8] == BOOT[0x68:0x1B8]
    assert boot[0x1FE:] == b"\x55\xaa"


def test_the_boot_sector_says_where_the_core_is_and_trusts_the_bios_about_the_drive() -> None:
    (_, boot), _ = embed(BootBlocks(boot=BOOT, core=core(2)), SECTOR0, 2048, 100)
    assert boot[0x5C:0x64] == struct.pack("<Q", 2048)
    assert boot[0x64] == 0xFF
    assert boot[0x66:0x68] == b"\x90\x90"


def test_the_core_has_one_block_list_for_all_but_its_first_sector() -> None:
    _, (_, written) = embed(BootBlocks(boot=BOOT, core=core(5, lists=3)), SECTOR0, 2048, 100)
    assert written[0x1F4:0x200] == struct.pack("<QHH", 2049, 4, 0x820)
    assert written[0x1F4 - 36 : 0x1F4] == bytes(36)


def test_a_core_that_ends_within_a_sector_is_filled_up_with_zeros() -> None:
    _, (_, written) = embed(BootBlocks(boot=BOOT, core=core(2) + b"end"), SECTOR0, 1, 100)
    assert written[1024:] == b"end".ljust(512, b"\0")


def test_a_core_larger_than_its_area_says_by_how_much() -> None:
    with pytest.raises(SpaceError, match=r"sector 34: .*takes 4 sectors, .*room for 3\n.*1 MiB"):
        embed(BootBlocks(boot=BOOT, core=core(4)), SECTOR0, 34, 3)


def test_a_core_must_not_reach_the_memory_of_the_bios() -> None:
    embed(BootBlocks(boot=BOOT, core=core(MOST)), SECTOR0, 2048, 16384)
    with pytest.raises(SpaceError, match="takes 889 sectors, and there is room for 888"):
        embed(BootBlocks(boot=BOOT, core=core(MOST + 1)), SECTOR0, 2048, 16384)


def test_sectors_of_4096_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"4096 bytes\n.*UEFI"):
        embed(BootBlocks(boot=BOOT, core=core(2)), bytes(4096), 6, 100)

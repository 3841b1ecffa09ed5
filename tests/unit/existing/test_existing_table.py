"""Partition tables and superblocks of others, from their bytes."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest

from imagebuilder.disk import gpt, mbr
from imagebuilder.disk.model import Slot, Table
from imagebuilder.errors import ConfigError
from imagebuilder.existing import table
from imagebuilder.existing.model import Contents, Signature
from imagebuilder.existing.signature import identify
from imagebuilder.sizes import Size

SIZE = 64 << 20
ROOT = UUID("12345678-9abc-def0-1234-56789abcdef0")
DISK = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
MIB = 1 << 20


def ext4(label: str = "root") -> bytes:
    """The superblock of an ext4 filesystem, where it is in one."""
    block = bytearray(1024)
    block[0x38:0x3A] = b"\x53\xef"
    struct.pack_into("<III", block, 0x5C, 0x4, 0x40, 0x400)
    block[0x68:0x78] = ROOT.bytes
    block[0x78 : 0x78 + len(label)] = label.encode()
    return bytes(1024) + bytes(block)


def read(disk: bytes) -> Contents:
    return table.contents(lambda at, length: bytes(disk[at : at + length]), len(disk), "x.img")


def slots(sector: int = 512) -> tuple[Slot, ...]:
    return (
        Slot(name="ESP", number=1, offset=Size(MIB), size=Size(8 * MIB), type="EF00", uuid=DISK),
        Slot(name="root", number=3, offset=Size(9 * MIB), size=Size(sector * 2000), type="8303",
             uuid=ROOT),
    )  # fmt: skip


def with_gpt(sector: int = 512) -> bytearray:
    disk = bytearray(SIZE)
    for at, piece in gpt.pieces(SIZE, sector, DISK, slots(sector)):
        disk[at : at + len(piece)] = piece
    disk[9 * MIB : 9 * MIB + 2048] = ext4()
    return disk


@pytest.mark.parametrize("sector", [512, 4096])
def test_what_our_own_gpt_says_is_read_again(sector: int) -> None:
    found = read(with_gpt(sector))
    assert (found.table, found.sector, found.size) == (Table.GPT, sector, SIZE)
    first, second = found.areas
    assert (first.number, first.offset, first.size, first.name) == (1, MIB, 8 * MIB, "ESP")
    assert first.type == gpt.TYPES["EF00"]
    assert first.content is None
    assert (second.number, second.uuid) == (3, str(ROOT))
    assert second.content == Signature(type="ext4", label="root", uuid=str(ROOT))


def test_a_damaged_gpt_is_read_from_its_backup() -> None:
    disk = with_gpt()
    disk[512:1024] = bytes(512)
    assert [area.number for area in read(disk).areas] == [1, 3]
    disk = with_gpt()
    disk[1024 + 40] ^= 1  # an entry, so that the checksum of the array is wrong
    assert [area.offset for area in read(disk).areas] == [MIB, 9 * MIB]


def test_an_mbr_with_logical_partitions_is_read() -> None:
    made = [
        Slot(name="a", number=1, offset=Size(MIB), size=Size(MIB), type="83", boot=True),
        Slot(name="b", number=5, offset=Size(4 * MIB), size=Size(MIB), type="83"),
        Slot(name="c", number=6, offset=Size(6 * MIB), size=Size(MIB), type="82"),
    ]
    disk = bytearray(SIZE)
    for at, piece in mbr.pieces(SIZE, 512, MIB, 0x1234ABCD, made):
        disk[at : at + len(piece)] = piece
    found = read(disk)
    assert found.table is Table.MBR
    assert [(a.number, a.offset, a.size, a.type) for a in found.areas] == [
        (1, MIB, MIB, "83"), (5, 4 * MIB, MIB, "83"), (6, 6 * MIB, MIB, "82"),
    ]  # fmt: skip


def test_a_filesystem_without_a_table_is_the_whole_disk() -> None:
    found = read(ext4("bare").ljust(SIZE, b"\0"))
    (area,) = found.areas
    assert (found.table, area.number, area.offset, area.size) == (None, 0, 0, SIZE)
    assert area.content
    assert area.content.label == "bare"


def test_a_disk_that_breaks_off_is_refused() -> None:
    disk = with_gpt()[: 9 * MIB]
    with pytest.raises(ConfigError, match="partition 3 ends at") as caught:
        read(disk)
    assert "not complete" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"some text\n" * 100, bytes(SIZE)])
def test_what_is_no_disk_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="neither a partition table nor a filesystem"):
        read(content)


def test_a_chain_of_extended_records_that_never_ends_is_left() -> None:
    disk = bytearray(SIZE)
    entry = struct.pack("<8sII", b"\0\0\0\0\x05\0\0\0", 2048, 4096)
    disk[446:462], disk[510:512] = entry, b"\x55\xaa"
    loop = struct.pack("<8sII", b"\0\0\0\0\x83\0\0\0", 1, 8)
    back = struct.pack("<8sII", b"\0\0\0\0\x05\0\0\0", 0, 4096)
    at = 2048 * 512
    disk[at + 446 : at + 478], disk[at + 510 : at + 512] = loop + back, b"\x55\xaa"
    assert len(read(disk).areas) <= table.MOST_LOGICAL


def fat(label: bytes, kind: bytes) -> bytes:
    block = bytearray(512)
    block[0:1], block[510:512] = b"\xeb", b"\x55\xaa"
    at = 67 if kind == b"FAT32" else 39
    block[at : at + 4], block[at + 4 : at + 15] = b"\x34\x12\xcd\xab", label.ljust(11)
    place = 82 if kind == b"FAT32" else 54
    block[place : place + 5] = kind
    return bytes(block)


SUPERBLOCKS = {
    "xfs": (b"XFSB".ljust(32, b"\0") + ROOT.bytes).ljust(108, b"\0") + b"data".ljust(20, b"\0"),
    "btrfs": bytes(0x10020) + ROOT.bytes + bytes(16) + b"_BHRfS_M" + bytes(0xE3) + b"data\0",
    "swap": bytes(1036) + ROOT.bytes + b"data".ljust(4096 - 10 - 1052, b"\0") + b"SWAPSPACE2",
}  # fmt: skip


@pytest.mark.parametrize("kind", SUPERBLOCKS)
def test_superblocks_tell_label_and_uuid(kind: str) -> None:
    block = SUPERBLOCKS[kind]
    found = identify(lambda at, length: block[at : at + length])
    assert found == Signature(type=kind, label="data", uuid=str(ROOT))


@pytest.mark.parametrize("kind", [b"FAT16", b"FAT32"])
def test_a_fat_tells_its_serial_number_as_blkid_does(kind: bytes) -> None:
    block = fat(b"UEFI", kind)
    found = identify(lambda at, length: block[at : at + length])
    assert found == Signature(type="vfat", label="UEFI", uuid="ABCD-1234")
    block = fat(b"NO NAME", kind)
    assert identify(lambda at, length: block[at : at + length]) == Signature(
        type="vfat", uuid="ABCD-1234"
    )


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (bytes(512) + b"LABELONE", "lvm"),
        (b"LUKS\xba\xbe", "luks"),
        (b"hsqs", "squashfs"),
        (bytes(1024) + b"\xe2\xe1\xf5\xe0", "erofs"),
    ],
)
def test_what_cannot_be_changed_is_known_by_name(block: bytes, kind: str) -> None:
    found = identify(lambda at, length: block[at : at + length])
    assert found
    assert found.type == kind

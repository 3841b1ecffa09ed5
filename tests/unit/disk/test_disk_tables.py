import struct
import zlib
from uuid import UUID

import pytest

from imagebuilder.disk import gpt, mbr
from imagebuilder.disk.model import Slot
from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size

MIB = 2**20
DISK = UUID("5e6d6c1f-0000-4000-8000-000000000001")


def slot(number: int, offset: int, size: int, kind: str, *, boot: bool = False) -> Slot:
    return Slot(
        name=f"part {number} {'é' * 40}",
        number=number,
        offset=Size(offset),
        size=Size(size),
        type=kind,
        uuid=UUID(int=number),
        boot=boot,
    )


@pytest.mark.parametrize("sector", [512, 4096])
def test_both_gpt_headers_point_at_each_other_and_check(sector: int) -> None:
    size = 64 * MIB
    last = size // sector - 1
    pieces = dict(gpt.pieces(size, sector, DISK, [slot(2, MIB, MIB, "EF00")]))
    primary, entries = pieces[sector][:92], pieces[sector][sector:]
    (backup_at,) = [offset for offset in pieces if offset > sector]
    backup = pieces[backup_at][len(entries) :]
    assert pieces[backup_at][: len(entries)] == entries
    assert backup_at + len(pieces[backup_at]) == size
    for header, here, there, array in (
        (primary, 1, last, 2),
        (backup[:92], last, 1, backup_at // sector),
    ):
        assert header[:8] == b"EFI PART"
        checked = header[:16] + bytes(4) + header[20:]
        assert struct.unpack_from("<I", header, 16)[0] == zlib.crc32(checked)
        assert struct.unpack_from("<QQ", header, 24) == (here, there)
        first_usable = 2 + 16384 // sector
        assert struct.unpack_from("<QQ", header, 40) == (first_usable, backup_at // sector - 1)
        assert header[56:72] == DISK.bytes_le
        assert struct.unpack_from("<QIII", header, 72) == (array, 128, 128, zlib.crc32(entries))


def test_a_gpt_entry_has_type_id_place_and_36_characters_of_name() -> None:
    pieces = dict(gpt.pieces(64 * MIB, 512, DISK, [slot(2, MIB, 2 * MIB, "ef00")]))
    entries = pieces[512][512:]
    assert entries[:128] == bytes(128)
    assert entries[256:] == bytes(126 * 128)
    entry = entries[128:256]
    assert UUID(bytes_le=entry[:16]) == UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
    assert UUID(bytes_le=entry[16:32]) == UUID(int=2)
    assert struct.unpack_from("<QQQ", entry, 32) == (2048, 2048 + 4096 - 1, 0)
    assert entry[56:].decode("utf-16-le") == "part 2 " + "é" * 29


@pytest.mark.parametrize(("size", "count"), [(64 * MIB, 131071), (2**42, 2**32 - 1)])
def test_the_protective_mbr_covers_what_it_can(size: int, count: int) -> None:
    piece = dict(gpt.pieces(size, 512, DISK, []))[440]
    entry = b"\0\0\2\0\xee\xff\xff\xff" + struct.pack("<II", 1, count)
    assert piece == bytes(6) + entry + bytes(48) + b"\x55\xaa"


def test_a_gpt_type_may_be_any_guid() -> None:
    assert gpt.type_guid(str(DISK)) == DISK
    assert gpt.is_bios_boot("21686148-6449-6e6f-744e-656564454649")
    assert not gpt.is_bios_boot("8300")


def test_an_unknown_gpt_type_is_refused_with_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'EF0X'\n  hint: did you mean 'EF0"):
        gpt.type_guid("EF0X")
    with pytest.raises(ConfigError, match=r"'zzz'\n  hint: known codes: 0700, .* or any GUID"):
        gpt.type_guid("zzz")


@pytest.mark.parametrize(("text", "value"), [("83", 0x83), ("0x83", 0x83), ("ee", 0xEE), ("c", 12)])
def test_mbr_types_are_hexadecimal(text: str, value: int) -> None:
    assert mbr.type_byte(text) == value


@pytest.mark.parametrize("text", ["", "0", "0x0", "100", "linux", "EF00"])
def test_another_mbr_type_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"hint: a hexadecimal byte like 0x83"):
        mbr.type_byte(text)


def entries(piece: bytes, start: int) -> list[tuple[int, ...]]:
    """Status, type, first sector and sectors of each entry."""
    found = [struct.unpack_from("<B3xB3xII", piece, start + 16 * index) for index in range(4)]
    return [entry for entry in found if any(entry)]


def test_primaries_lie_in_the_mbr_with_signature_and_boot_flag() -> None:
    slots = [slot(2, MIB, MIB, "ef"), slot(1, 2 * MIB, 6 * MIB, "83", boot=True)]
    ((offset, piece),) = mbr.pieces(8 * MIB, 512, MIB, 0x12345678, slots)
    assert (offset, len(piece), piece[-2:]) == (440, 72, b"\x55\xaa")
    assert struct.unpack_from("<I", piece) == (0x12345678,)
    assert entries(piece, 6) == [(0x80, 0x83, 4096, 12288), (0, 0xEF, 2048, 2048)]


@pytest.mark.parametrize("sector", [512, 4096])
def test_logical_partitions_are_chained_in_one_extended_partition(sector: int) -> None:
    unit = MIB // sector
    slots = [
        slot(1, MIB, MIB, "83"),
        slot(5, 3 * MIB, 2 * MIB, "82"),
        slot(6, 6 * MIB, 4 * MIB, "83"),
    ]
    pieces = dict(mbr.pieces(10 * MIB, sector, MIB, 1, slots))
    assert list(pieces) == [440, 2 * MIB + 446, 5 * MIB + 446]
    assert entries(pieces[440], 6) == [
        (0, 0x83, unit, unit),
        (0, 0x0F, 2 * unit, 8 * unit),
    ]
    first, second = pieces[2 * MIB + 446], pieces[5 * MIB + 446]
    assert entries(first, 0) == [(0, 0x82, unit, 2 * unit), (0, 0x05, 3 * unit, 5 * unit)]
    assert entries(second, 0) == [(0, 0x83, unit, 4 * unit)]
    assert first[-2:] == second[-2:] == b"\x55\xaa"


def test_the_extended_partition_takes_the_entry_after_the_primaries() -> None:
    slots = [slot(4, MIB, MIB, "83"), slot(5, 3 * MIB, MIB, "83")]
    piece = dict(mbr.pieces(4 * MIB, 512, MIB, 1, slots))[440]
    assert entries(piece, 6)[0][1] == 0x0F
    assert piece[6 + 4] == 0x0F

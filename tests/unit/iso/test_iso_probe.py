"""What an ISO image is and whether it is whole, on images made of a few sectors."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagebuilder.errors import ConfigError
from imagebuilder.iso import tree
from imagebuilder.iso.model import Platform
from imagebuilder.iso.probe import probe

SECTOR = 2048
ROOT, CATALOG, FILE, END = 20, 21, 22, 40


def record(name: bytes, sector: int, size: int, flags: int) -> bytes:
    length = 33 + len(name) + (len(name) + 1) % 2
    both = struct.pack("<I", sector) + struct.pack(">I", sector)
    sizes = struct.pack("<I", size) + struct.pack(">I", size)
    date = bytes([120, 1, 2, 3, 4, 5, 0])
    fields = bytes([length, 0]) + both + sizes + date + bytes([flags, 0, 0, 1, 0, 0, 1, len(name)])
    return (fields + name).ljust(length, b"\0")


def descriptor(kind: int) -> bytearray:
    sector = bytearray(SECTOR)
    sector[:7] = bytes([kind]) + b"CD001\x01"
    return sector


def image(*, boot: bool = True, blocks: int = END) -> bytearray:
    """An image with one file, `HELLO.TXT`, and maybe a boot catalog."""
    made = bytearray(SECTOR * END)
    primary = descriptor(1)
    primary[40:72] = b"TEST".ljust(32)
    struct.pack_into("<I", primary, 80, blocks)
    primary[156:190] = record(b"\0", ROOT, SECTOR, 2)
    made[16 * SECTOR : 17 * SECTOR] = primary
    second = descriptor(0)
    second[7:30] = b"EL TORITO SPECIFICATION"
    struct.pack_into("<I", second, 71, CATALOG)
    made[17 * SECTOR : 18 * SECTOR] = second if boot else descriptor(255)
    made[18 * SECTOR : 19 * SECTOR] = descriptor(255)
    listing = record(b"\0", ROOT, SECTOR, 2) + record(b"\1", ROOT, SECTOR, 2)
    listing += record(b"HELLO.TXT;1", FILE, 6, 0)
    made[ROOT * SECTOR : ROOT * SECTOR + len(listing)] = listing
    made[FILE * SECTOR : FILE * SECTOR + 6] = b"hello\n"
    catalog = bytes([1, 0]) + bytes(28) + b"\x55\xaa"
    catalog += bytes([0x88, 0]) + bytes(4) + struct.pack("<HI", 4, 30) + bytes(20)
    catalog += bytes([0x91, 0xEF]) + struct.pack("<H", 1) + bytes(28)
    catalog += bytes([0x88, 0]) + bytes(4) + struct.pack("<HI", 8, 32) + bytes(20)
    made[CATALOG * SECTOR : CATALOG * SECTOR + len(catalog)] = catalog
    return made


def put(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "x.iso"
    path.write_bytes(content)
    return path


def test_an_image_tells_its_volume_and_its_boot_images(tmp_path: Path) -> None:
    iso = probe(put(tmp_path, image()))
    assert (iso.volume.id, iso.rock_ridge, iso.joliet, iso.bootable) == ("TEST", False, None, True)
    assert [(i.platform, i.start, i.size) for i in iso.images] == [
        (Platform.BIOS, 30 * SECTOR, 2048),
        (Platform.UEFI, 32 * SECTOR, 4096),
    ]


def test_names_without_rock_ridge_lose_their_version(tmp_path: Path) -> None:
    files = tree.load(probe(put(tmp_path, image())))
    assert sorted(files.nodes) == ["", "HELLO.TXT"]
    assert files.read("HELLO.TXT") == b"hello\n"


def test_an_image_without_boot_record_is_known_as_such(tmp_path: Path) -> None:
    assert not probe(put(tmp_path, image(boot=False))).bootable


def test_an_image_that_was_grown_is_known_as_such(tmp_path: Path) -> None:
    made = image()
    made[446:462] = bytes([0x80, 0, 0, 0, 0x17, 0, 0, 0]) + struct.pack("<II", 0, 80)
    made[510:512] = b"\x55\xaa"
    assert probe(put(tmp_path, made)).grown


def test_padding_that_is_cut_off_does_not_matter(tmp_path: Path) -> None:
    assert probe(put(tmp_path, image(blocks=36)[: 37 * SECTOR])).end == 36 * SECTOR


def test_padding_inside_the_volume_may_be_cut_off_and_nothing_else(tmp_path: Path) -> None:
    iso = probe(put(tmp_path, image()[: 37 * SECTOR]))
    assert iso.cut == (END - 37) * SECTOR
    assert "HELLO.TXT" in tree.load(iso).nodes
    path = put(tmp_path, image(boot=False)[: FILE * SECTOR + 5])
    with pytest.raises(
        ConfigError, match=r"truncated: HELLO\.TXT ends at byte 45062, the file has"
    ):
        tree.load(probe(path))


def udf() -> bytes:
    made = image()
    made[19 * SECTOR + 1 : 19 * SECTOR + 6] = b"BEA01"
    made[20 * SECTOR + 1 : 20 * SECTOR + 6] = b"NSR02"
    return bytes(made)


def udf_alone() -> bytes:
    made = bytearray(SECTOR * END)
    made[16 * SECTOR + 1 : 16 * SECTOR + 6] = b"BEA01"
    return bytes(made)


def without_end() -> bytes:
    made = image()
    made[18 * SECTOR :] = bytes(len(made) - 18 * SECTOR)
    return bytes(made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (
            b"\1\2\3" * 20000,
            "not an ISO 9660 image (no CD001 at byte 32769; looks like unknown data)",
        ),
        (b"hsqs" + bytes(SECTOR * END), "looks like a squashfs image)"),
        (b"\x1f\x8b" + bytes(SECTOR * END), "looks like gzip data)"),
        (bytes(510) + b"\x55\xaa" + bytes(SECTOR * END), "looks like a disk image)"),
        (bytes(image()[:33500]), "too small for ISO 9660 (33500 bytes)"),
        (bytes(image()[:36900]), "truncated: volume descriptor set has no terminator (sector 18)"),
        (without_end(), "truncated: volume descriptor set has no terminator (sector 18)"),
        (bytes(image()[:50000]), "truncated: the ISO 9660 volume ends at byte 81920, the file has"),
        (
            bytes(image(blocks=25)[: 32 * SECTOR + 100]),
            "truncated: El Torito image 2 ends at byte 69632, the file has 65636",
        ),
        (udf(), "holds a UDF file system, which cannot be re-written"),
        (udf_alone(), "holds a UDF file system, which cannot be re-written"),
    ],
)
def test_what_is_no_whole_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = put(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        tree.load(probe(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_missing_image_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^/none.iso: no such file"):
        probe(Path("/none.iso"))


@settings(deadline=None, max_examples=150)
@given(place=st.integers(0, SECTOR * 23), wrong=st.binary(min_size=1, max_size=64))
def test_any_damage_is_an_error_of_ours_or_none(
    tmp_path_factory: pytest.TempPathFactory, place: int, wrong: bytes
) -> None:
    made = image()
    made[place : place + len(wrong)] = wrong
    path = put(tmp_path_factory.mktemp("damaged"), bytes(made))
    try:
        files = tree.load(probe(path))
        for node in files.nodes.values():
            list(files.pieces(node)) if node.size < 10**6 else None
    except ConfigError:
        pass

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagebuilder.filesystems import ext_inode
from imagebuilder.filesystems.ext_inode import Content

BLOCK = 1024
MOMENT = 1_600_000_000
FIELDS = {
    "mode": ("H", 0), "uid": ("H", 2), "size": ("I", 4), "atime": ("I", 8), "ctime": ("I", 12),
    "mtime": ("i", 16), "gid": ("H", 24), "links": ("H", 26), "sectors": ("I", 28),
    "flags": ("I", 32), "size_high": ("I", 108), "sectors_high": ("H", 116),
    "uid_high": ("H", 120), "gid_high": ("H", 122), "extra": ("H", 128),
    "mtime_extra": ("I", 136), "crtime": ("I", 144),
}  # fmt: skip


def status(mode: int = 0o644, mtime: int = 5, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((
        stat.S_IFREG | mode,
        0,
        0,
        1,
        uid,
        gid,
        0,
        0,
        mtime,
        0,
        0,
        mtime,
        0,
        0,
        mtime * 10**9,
        0,
    ))


def made(of: os.stat_result, content: Content, links: int = 1) -> dict[str, int]:
    inode = ext_inode.inode(of, content, links, MOMENT, block_size=BLOCK)
    assert len(inode) == 128 + 32
    return {name: struct.unpack_from(f"<{kind}", inode, at)[0]
            for name, (kind, at) in FIELDS.items()}  # fmt: skip


def test_an_inode_has_every_number_where_it_belongs() -> None:
    content = Content(area=b"area", blocks=2**32, size=2**40 + 9, flags=0x80000)
    assert made(status(0o4755, 77, 70_000, 70_001), content, 3) == {
        "mode": 0o104755, "uid": 70_000 - 65536, "uid_high": 1, "gid": 70_001 - 65536,
        "gid_high": 1, "size": 9, "size_high": 256, "sectors": 0, "sectors_high": 2,
        "flags": 0x80000, "links": 3, "atime": MOMENT, "ctime": MOMENT, "crtime": MOMENT,
        "mtime": 77, "mtime_extra": 0, "extra": 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "low", "extra"),
    [
        (-1, -1, 0),
        (2**31 - 1, 2**31 - 1, 0),
        (2**31, -(2**31), 1),
        (2**33, 0, 2),
        (2**34 - 2**31 - 1, 2**31 - 1, 3),
        (2**40, 2**31 - 1, 3),
        (-(2**40), -(2**31), 0),
    ],
)
def test_times_go_beyond_2038(seconds: int, low: int, extra: int) -> None:
    fields = made(status(mtime=seconds), Content())
    assert (fields["mtime"], fields["mtime_extra"]) == (low, extra)


def test_a_directory_with_too_many_others_in_it_says_one() -> None:
    links = [made(status(), Content(), count)["links"] for count in (65_000, 65_001)]
    assert links == [65_000, 1]


def test_what_an_inode_says_of_its_content_is_read_again() -> None:
    content = Content(area=bytes(range(60)), blocks=7, size=2**33 + 5, flags=3)
    inode = ext_inode.inode(status(), content, 1, MOMENT, block_size=BLOCK)
    assert ext_inode.content(inode, BLOCK) == content


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs devices")
@pytest.mark.parametrize(
    ("major", "minor", "numbers"),
    [(1, 3, (0x103, 0)), (259, 70_000, (0, 0x11100000 | 259 << 8 | 0x70)), (8, 256, (0, 0x100800))],
)
def test_devices_have_their_number_in_one_of_two_ways(
    major: int, minor: int, numbers: tuple[int, int]
) -> None:
    assert struct.unpack("<II", ext_inode.device(os.makedev(major, minor))) == numbers


def entries(block: bytes) -> Iterator[tuple[int, bytes, int]]:
    """What a reader of the format finds in a block of a directory."""
    at = 0
    while at < len(block):
        number, length, name, kind = struct.unpack_from("<IHBB", block, at)
        assert length % 4 == 0
        assert length >= 8 + name
        yield number, block[at + 8 : at + 8 + name], kind
        at += length
    assert at == len(block)


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("count", [2, 3, 100, 1001])
def test_listings_are_found_again_and_end_with_their_blocks(count: int, *, checksums: bool) -> None:
    wanted = [(number, b"n" * (number % 255 + 1), number % 8) for number in range(1, count)]
    blocks = ext_inode.listing(wanted, BLOCK, checksums=checksums)
    tail = struct.pack("<IHBBI", 0, 12, 0, 0xDE, 0) if checksums else b""
    assert {len(block) for block in blocks} == {BLOCK}
    assert all(block.endswith(tail) for block in blocks)
    found = [entry for block in blocks for entry in entries(block[: BLOCK - len(tail)])]
    assert found == wanted

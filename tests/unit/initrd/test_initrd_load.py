"""From bytes to segments and back, and everything that can be wrong with the bytes."""

from __future__ import annotations

import gzip
import lzma
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagebuilder.codec import table
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.initrd import load, newc
from imagebuilder.initrd.model import WITH_SUM, Archive, Entry

FILE = Entry(name="etc/x", mode=0o100644, content=b"hello", ino=3)
TREE = Archive(entries=(Entry(name="etc", mode=0o40755), FILE), padding=20)
MICROCODE = Archive(
    entries=(Entry(name="kernel/x86/microcode/GenuineIntel.bin", mode=0o100644, content=b"m" * 99),)
)
KINDS = ("gzip", "bzip2", "xz", "lzma")  # those that need no library
KERNEL = bytes(0x202) + b"HdrS" + bytes(600)


def raw(archive: Archive = TREE) -> bytes:
    return newc.write(archive)


def pack(kind: str, archive: Archive = TREE) -> bytes:
    return table.BY_NAME[kind].pack(raw(archive), b"")


def error(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load.load(data, "initrd.img")
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_archive_is_one_segment(kind: str) -> None:
    packed = pack(kind)
    (segment,) = load.load(packed, "x").segments
    assert (segment.kind, segment.start, segment.raw) == (kind, 0, packed)
    assert segment.archives == (TREE,)


@pytest.mark.parametrize("kind", KINDS)
def test_every_segment_of_a_row_is_found_with_the_zeros_between(kind: str) -> None:
    early = raw(MICROCODE)
    early += bytes(-len(early) % 512)
    data = early + pack(kind) + bytes(7) + pack("gzip") + bytes(5)
    initrd = load.load(data, "x")
    assert [segment.kind for segment in initrd.segments] == ["cpio", kind, "gzip"]
    assert [segment.early for segment in initrd.segments] == [True, False, False]
    assert initrd.segments[2].before == 7
    assert initrd.after == 5


@given(
    pieces=st.lists(st.tuples(st.sampled_from(("cpio", *KINDS)), st.integers(0, 9)), min_size=1),
)
@settings(deadline=None, max_examples=60)
def test_what_was_not_changed_is_written_as_it_was(pieces: list[tuple[str, int]]) -> None:
    data = b""
    for kind, zeros in pieces:
        data += bytes(-len(data) % 4) + (raw() if kind == "cpio" else pack(kind)) + bytes(zeros)
    assert load.write(load.load(data, "x")) == data


def test_checksums_and_odd_fields_survive() -> None:
    odd = Entry(
        name="naïve \udcff", mode=0o104755, uid=7, gid=8, mtime=9, nlink=2, ino=5, content=b"abc",
        device=(1, 2), rdev=(3, 4), magic=WITH_SUM, check=294, slack=2,
    )  # fmt: skip
    data = raw(Archive(entries=(odd,)))
    (segment,) = load.load(data, "x").segments
    assert segment.archives[0].entries == (odd,)
    assert newc.write(segment.archives[0]) == data


def test_several_archives_in_one_segment_are_read() -> None:
    packed = gzip.compress(raw() + raw(MICROCODE))
    (segment,) = load.load(packed, "x").segments
    assert segment.archives == (TREE, MICROCODE)


def test_a_raw_archive_off_the_kernels_grid_is_objected_to() -> None:
    packed = pack("gzip")
    packed += bytes((1 - len(packed)) % 4)
    objection = load.load(packed + raw(), "x").segments[1].objection
    assert "no multiple of 4" in objection


def test_xz_that_the_kernel_does_not_read_is_objected_to() -> None:
    objection = load.load(lzma.compress(raw()), "x").segments[0].objection
    assert objection == "its check is crc64: the kernel reads only xz --check=crc32"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "initrd.img: empty initrd"),
        (bytes(512), "initrd.img: nothing but zero bytes"),
        (b"MZ" + KERNEL[2:], "initrd.img: a Linux kernel, not an initrd"),
        (b"\x7fELF" + bytes(99), "initrd.img: an ELF program, not an initrd"),
        (b"hsqs" + bytes(99), "initrd.img: a squashfs image, not an initrd"),
        (
            b"#!" + bytes(0x436) + struct.pack("<H", 0xEF53) + bytes(99),
            "initrd.img: an ext2, ext3 or ext4 filesystem, not an initrd",
        ),
        (b"070707000000", "a cpio archive (odc) at byte 0, which the kernel does not read"),
        (b"\xc7\x71\x00\x00", "a cpio archive (old binary) at byte 0"),
        (b'\x04"M\x18' + bytes(9), "lz4 frames at byte 0, which the kernel does not read"),
        (b"junk" * 9, "segment 1: unknown data at byte 0: 6a756e6b6a756e6b"),
        (gzip.compress(b"hello\n", mtime=0), "the gzip data holds text, no cpio archive (newc)"),
        (gzip.compress(raw()[:130], mtime=0), "the cpio archive in the gzip data is cut off"),
        (gzip.compress(raw() + b"junk", mtime=0), "the cpio archive in the gzip data is damaged"),
        (b"070701" + b"z" * 120, "damaged cpio segment at byte 0: bad cpio header at byte 0 of it"),
    ],
)  # fmt: skip
def test_what_is_no_initrd_is_named(data: bytes, message: str) -> None:
    assert message in error(data)


def test_lz4_frames_are_told_how_to_be_made_right() -> None:
    assert "hint: compress with 'lz4 -l'" in error(b'\x04"M\x18' + bytes(9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_is_cut_off_is_named_with_its_place(kind: str) -> None:
    first = pack("gzip")
    first += bytes(4 + -len(first) % 4)
    second = pack(kind)
    message = error(first + second[: len(second) * 2 // 3])
    assert f"initrd.img: segment 2: truncated {kind} segment at byte {len(first)}" in message


@pytest.mark.parametrize("end", [1, 50, 109, 112, 130, 300])
def test_a_raw_archive_that_is_cut_off_is_named(end: int) -> None:
    assert "truncated cpio segment at byte 0" in error(raw()[: max(end, 6)])


def test_data_behind_the_last_segment_is_named_with_its_place() -> None:
    data = raw() + b"junkjunkjunk"
    assert f"unknown data at byte {len(raw())}: 6a756e6b" in error(data)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(0, 400))
def test_any_bytes_give_segments_or_one_error(data: bytes, cut: int) -> None:
    for candidate in (data, raw()[:cut] + data, pack("gzip")[:cut] + data):
        try:
            initrd = load.load(candidate, "x")
        except ConfigError:
            continue
        assert load.write(initrd) == candidate


def test_a_missing_library_is_named_with_the_segment() -> None:
    codec = replace(table.BY_NAME["gzip"], name="zstd", library="libnone.so.7")
    with pytest.raises(ToolMissingError) as caught:
        load._unpacked(codec, pack("gzip"), 0, "initrd.img: segment 1")
    assert str(caught.value).startswith(
        "initrd.img: segment 1: it is zstd, and libnone.so.7 is not installed"
    )

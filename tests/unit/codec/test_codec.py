"""Every kind of compression, both ways, and what is wrong with damaged pieces."""

from __future__ import annotations

import lzma
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagebuilder.codec import library, lz4, standard, table
from imagebuilder.codec.model import Codec, DamagedError, TruncatedError
from imagebuilder.errors import ToolMissingError

TEXT = b"initial RAM filesystem\n" * 5000
NOISE = random.Random(1).randbytes(300_000)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - noise
LEGACY = b"\x02!L\x18"


def there(codec: Codec) -> bool:
    try:
        library.check(codec.library) if codec.library else None
    except ToolMissingError:
        return False
    return True


CODECS = [
    pytest.param(
        codec,
        id=codec.name,
        marks=pytest.mark.skipif(not there(codec), reason=f"needs {codec.library}"),
    )
    for codec in table.CODECS
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("content", [TEXT, NOISE, b""], ids=["text", "noise", "nothing"])
def test_what_is_packed_unpacks_to_the_same(codec: Codec, content: bytes) -> None:
    packed = codec.pack(content, b"")
    unpacked = codec.unpack(b"abc" + packed + bytes(8) + b"more", 3)
    assert (unpacked.content == content, unpacked.length) == (True, len(packed))


@pytest.mark.parametrize("codec", CODECS)
def test_a_piece_is_found_by_its_first_bytes(codec: Codec) -> None:
    assert table.find(b"x" + codec.pack(TEXT, b""), 1) is codec


@pytest.mark.parametrize("codec", CODECS)
def test_packing_twice_gives_the_same_bytes(codec: Codec) -> None:
    assert codec.pack(TEXT, b"") == codec.pack(TEXT, b"")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_piece_that_is_cut_off_is_truncated(codec: Codec, part: float) -> None:
    packed = codec.pack(NOISE, b"")
    with pytest.raises(TruncatedError):
        codec.unpack(packed[: int(len(packed) * part)], 0)


@pytest.mark.parametrize("codec", [p for p in CODECS if p.id != "lz4"])  # lz4 has no checksum
def test_a_piece_with_wrong_bytes_is_damaged(codec: Codec) -> None:
    packed = bytearray(codec.pack(TEXT, b""))
    middle = len(packed) // 2
    packed[middle : middle + 8] = b"\xff" * 8
    with pytest.raises((DamagedError, TruncatedError)):
        codec.unpack(bytes(packed), 0)


@pytest.mark.parametrize("codec", CODECS)
@settings(deadline=None, max_examples=20)
@given(content=st.binary(max_size=3000))
def test_any_content_survives(codec: Codec, content: bytes) -> None:
    assert codec.unpack(codec.pack(content, b""), 0).content == content


def test_xz_has_the_one_check_that_the_kernel_knows() -> None:
    packed = standard.pack_xz(TEXT, b"")
    assert packed[7] == lzma.CHECK_CRC32
    assert standard.xz_objection(packed, 0) == ""


def test_xz_with_its_usual_check_is_objected_to() -> None:
    assert "crc64" in standard.xz_objection(lzma.compress(TEXT), 0)


def test_xz_keeps_branch_filter_and_dictionary() -> None:
    chain = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 2**20}]
    like = lzma.compress(TEXT, check=lzma.CHECK_CRC32, filters=chain)
    found = standard.filters(standard.pack_xz(TEXT, like))
    assert [(row["id"], row.get("dict_size")) for row in found] == [
        (lzma.FILTER_X86, None),
        (lzma.FILTER_LZMA2, 2**20),
    ]


def test_lzma_keeps_its_dictionary() -> None:
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": 2**16}]
    like = lzma.compress(TEXT, lzma.FORMAT_ALONE, filters=chain)
    assert standard.pack_lzma(TEXT, like)[1:5] == like[1:5]


def test_gzip_has_neither_name_nor_time() -> None:
    assert standard.pack_gzip(TEXT, b"")[3:8] == bytes(5)


@pytest.mark.skipif(not there(table.BY_NAME["lz4"]), reason="needs liblz4")
def test_lz4_goes_on_in_a_second_piece_as_the_kernel_does() -> None:
    both = lz4.pack(TEXT, b"") + lz4.pack(b"more", b"")
    assert lz4.unpack(both, 0).content == TEXT + b"more"


@pytest.mark.skipif(not there(table.BY_NAME["lz4"]), reason="needs liblz4")
def test_lz4_ends_where_another_kind_begins() -> None:
    first = lz4.pack(TEXT, b"")
    assert lz4.unpack(first + standard.pack_gzip(b"x", b""), 0).length == len(first)


def test_a_library_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolMissingError) as caught:
        library.check("libnone.so.7")
    assert caught.value.what == "libnone.so.7 is not installed"
    assert caught.value.hint.startswith("Debian and Ubuntu have it in ")

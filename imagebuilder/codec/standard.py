"""gzip, bzip2, xz and lzma: what Python brings, kept to what the kernel reads.

The kernel's xz knows CRC32 and no other check (`lib/xz/xz_dec_stream.c`), and may filter branch
instructions of its own architecture first. The dictionary is kept as large as it was: the kernel
needs that much memory to boot.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any, Protocol

from imagebuilder.codec.model import DamagedError, TruncatedError, Unpacked

CHUNK = 2**20
GZIP = 31  # zlib's window bits, with a gzip header
LZMA2 = 0x21
BRANCH_FILTERS = range(0x04, 0x0A)  # x86, PowerPC, IA-64, ARM, ARM Thumb, SPARC
CHECKS = {0: "none", 1: "crc32", 4: "crc64", 10: "sha256"}
USUAL_DICTIONARY = 2**23
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"  # no name, no time, best compression, Unix


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes:
        """What one more piece unpacks to."""


class _Inflater:
    """zlib with the shape of the other two: data after the end is not its own."""

    def __init__(self) -> None:
        self.inner = zlib.decompressobj(GZIP)

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def unused_data(self) -> bytes:
        return self.inner.unused_data

    def decompress(self, data: bytes, /) -> bytes:
        """What one more piece unpacks to."""
        return self.inner.decompress(data)


def unpack_gzip(data: bytes, start: int) -> Unpacked:
    """One gzip member (RFC 1952)."""
    return _unpack(_Inflater(), data, start)


def unpack_bzip2(data: bytes, start: int) -> Unpacked:
    """One bzip2 stream."""
    return _unpack(bz2.BZ2Decompressor(), data, start)


def unpack_xz(data: bytes, start: int) -> Unpacked:
    """One xz stream."""
    return _unpack(lzma.LZMADecompressor(lzma.FORMAT_XZ), data, start)


def unpack_lzma(data: bytes, start: int) -> Unpacked:
    """One stream in the format before xz."""
    return _unpack(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data, start)


def pack_gzip(content: bytes, like: bytes) -> bytes:
    """One gzip member without name or time."""
    del like
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    end = zlib.crc32(content).to_bytes(4, "little") + (len(content) % 2**32).to_bytes(4, "little")
    return GZIP_HEADER + body + end


def pack_bzip2(content: bytes, like: bytes) -> bytes:
    """One bzip2 stream."""
    del like
    return bz2.compress(content, 9)


def pack_xz(content: bytes, like: bytes) -> bytes:
    """One xz stream with CRC32 and the filters of `like`."""
    return lzma.compress(content, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters(like))


def pack_lzma(content: bytes, like: bytes) -> bytes:
    """One stream in the format before xz, with a dictionary as large as in `like`."""
    size = int.from_bytes(like[1:5], "little") if like else USUAL_DICTIONARY
    chain = [{"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": size}]
    return lzma.compress(content, lzma.FORMAT_ALONE, filters=chain)


def xz_objection(data: bytes, start: int) -> str:
    """Why the kernel does not read this xz stream: its check."""
    check = data[start + 7] & 15
    if check in (0, 1):
        return ""
    return f"its check is {CHECKS.get(check, check)}: the kernel reads only xz --check=crc32"


def filters(like: bytes) -> list[dict[str, Any]]:
    """The filters of an xz stream's first block, as Python's lzma takes them.

    The header is that of section 3.1 of "The .xz File Format" 1.2.1.
    """
    size = USUAL_DICTIONARY
    chain: list[dict[str, Any]] = []
    if len(like) > 13 and like[12]:
        flags = like[13]
        place = 14
        for _ in range(bool(flags & 0x40) + bool(flags & 0x80)):
            _, place = _number(like, place)
        for _ in range((flags & 3) + 1):
            kind, place = _number(like, place)
            length, place = _number(like, place)
            if kind == LZMA2:
                size = _dictionary(like[place])
            elif kind in BRANCH_FILTERS:
                chain.append({"id": kind})
            place += length
    return [*chain, {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": size}]


def _unpack(decompressor: _Decompressor, data: bytes, start: int) -> Unpacked:
    pieces, place = [], start
    try:
        while not decompressor.eof:
            chunk = data[place : place + CHUNK]
            if not chunk:
                raise TruncatedError
            pieces.append(decompressor.decompress(chunk))
            place += len(chunk)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise DamagedError(str(error)) from error
    return Unpacked(content=b"".join(pieces), length=place - len(decompressor.unused_data) - start)


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer of xz, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place


def _dictionary(code: int) -> int:
    """LZMA2's dictionary size in bytes (section 5.3.1 of the same)."""
    return min((2 | code & 1) << code // 2 + 11, 2**32 - 1) if code < 41 else USUAL_DICTIONARY

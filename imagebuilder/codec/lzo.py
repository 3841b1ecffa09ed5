"""lzop files, as the kernel reads them (`lib/decompress_unlzo.c`).

Numbers are big-endian. The kernel takes for granted that each block of 256 KiB has one checksum,
that of what it unpacks to, which is what lzop writes unless told otherwise.
"""

from __future__ import annotations

import ctypes
import struct
import zlib

from imagebuilder.codec import library
from imagebuilder.codec.model import DamagedError, TruncatedError, Unpacked

LIBRARY = "liblzo2.so.2"
MAGIC = b"\x89LZO\0\r\n\x1a\n"
BLOCK = 256 * 2**10
LARGEST = BLOCK + BLOCK // 16 + 64 + 3  # what lzo makes of a block at worst
WORK = 14 * 16384 * 2  # LZO1X_999_MEM_COMPRESS
ADLER_OUT, ADLER_IN, CRC_OUT, CRC_IN = 0x1, 0x2, 0x100, 0x200
FILTERED, EXTRA = 0x800, 0x40
UNIX = 0x03000000
VERSION, LIBRARY_VERSION, NEEDED = 0x1030, 0x20A0, 0x0940
LZO1X_999, BEST = 3, 9
_pointer, _number, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t


def unpack(data: bytes, start: int) -> Unpacked:
    """One lzop file."""
    flags, place = _header(data, start)
    lzo, room = _library(), ctypes.create_string_buffer(BLOCK)
    pieces = []
    while size := _read(data, place):
        length = _read(data, place + 4)
        expected = _read(data, place + 8) if flags & ADLER_OUT else None
        place += 8 + 4 * (bool(flags & ADLER_OUT) + bool(flags & CRC_OUT))
        if length < size:
            place += 4 * (bool(flags & ADLER_IN) + bool(flags & CRC_IN))
        block = data[place : place + length]
        if len(block) < length:
            raise TruncatedError
        plain = block if length >= size else _block(lzo, room, block, size)
        if expected is not None and zlib.adler32(plain) != expected:
            raise DamagedError(f"a wrong checksum before byte {place}")
        pieces.append(plain)
        place += length
    return Unpacked(content=b"".join(pieces), length=place + 4 - start)


def pack(content: bytes, like: bytes) -> bytes:
    """One lzop file without name or time."""
    del like
    lzo, room = _library(), ctypes.create_string_buffer(LARGEST)
    work = ctypes.create_string_buffer(WORK)
    fields = (VERSION, LIBRARY_VERSION, NEEDED, LZO1X_999, BEST, UNIX | ADLER_OUT, 0o100644, 0, 0)
    header = struct.pack(">HHHBBIIIIB", *fields, 0)
    pieces = [MAGIC, header, zlib.adler32(header).to_bytes(4, "big")]
    for place in range(0, len(content), BLOCK):
        chunk = content[place : place + BLOCK]
        length = _size(LARGEST)
        lzo.lzo1x_999_compress(chunk, len(chunk), room, ctypes.byref(length), work)
        packed = room.raw[: length.value] if length.value < len(chunk) else chunk
        pieces += [struct.pack(">III", len(chunk), len(packed), zlib.adler32(chunk)), packed]
    return b"".join((*pieces, b"\0\0\0\0"))


def objection(data: bytes, start: int) -> str:
    """Why the kernel does not read this lzop file: its checksums."""
    flags, _ = _header(data, start)
    if flags & (ADLER_OUT | ADLER_IN | CRC_OUT | CRC_IN) == ADLER_OUT:
        return ""
    return "its checksums are not lzop's usual ones, which the kernel takes for granted"


def _header(data: bytes, start: int) -> tuple[int, int]:
    """The flags, and where the first block begins."""
    place = start + len(MAGIC)
    version = _read(data, place, 2)
    newer = version >= NEEDED
    place += 4 + 2 * newer + 1 + newer
    flags = _read(data, place)
    place += 4 + 4 * bool(flags & FILTERED) + 8 + 4 * newer
    place += 1 + _read(data, place, 1) + 4
    if flags & EXTRA:
        place += 4 + _read(data, place) + 4
    return flags, place


def _read(data: bytes, place: int, length: int = 4) -> int:
    field = data[place : place + length]
    if len(field) < length:
        raise TruncatedError
    return int.from_bytes(field, "big")


def _block(lzo: ctypes.CDLL, room: ctypes.Array[ctypes.c_char], block: bytes, size: int) -> bytes:
    length = _size(BLOCK)
    if size > BLOCK or lzo.lzo1x_decompress_safe(
        block, len(block), room, ctypes.byref(length), None
    ):
        raise DamagedError(f"a block that cannot be {size} bytes")
    return room.raw[: length.value]


def _library() -> ctypes.CDLL:
    pack_or_unpack = (_number, (_pointer, _size, _pointer, _pointer, _pointer))
    return library.opened(
        LIBRARY, {"lzo1x_decompress_safe": pack_or_unpack, "lzo1x_999_compress": pack_or_unpack}
    )

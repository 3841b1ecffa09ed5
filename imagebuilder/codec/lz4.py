"""lz4 as the kernel reads it: the "legacy" format of `lz4 -l`.

A magic number, then chunks: a length (little-endian, 32 bits) and one block of lz4, which holds
8 MiB when unpacked, or less in the last chunk. There is no end mark: the kernel goes on until the
input ends or a length is 0 (`lib/decompress_unlz4.c`), which is why nothing but four zero bytes
may follow.
"""

from __future__ import annotations

import ctypes

from imagebuilder.codec import library
from imagebuilder.codec.model import DamagedError, TruncatedError, Unpacked

LIBRARY = "liblz4.so.1"
MAGIC = b"\x02!L\x18"
CHUNK = 8 * 2**20
LARGEST = CHUNK + CHUNK // 255 + 16  # what lz4 makes of a chunk at worst
LEVEL = 9
OTHERS = (
    b"070701",
    b"070702",
    b"\x1f\x8b\x08",
    b"BZh",
    b"\x5d\0\0",
    b"\xfd7zXZ\0",
    b"\x89LZO",
    b"(\xb5/\xfd",
)
_pointer, _number = ctypes.c_void_p, ctypes.c_int


def unpack(data: bytes, start: int) -> Unpacked:
    """All chunks from `start` on, until the input ends or something else begins.

    What begins as another kind of segment does is taken for one, though the kernel takes it for
    a chunk's length: who asks for the segments is to hear of it.
    """
    lz4, room = _library(), ctypes.create_string_buffer(CHUNK)
    pieces, place = [], start + len(MAGIC)
    while place + 4 <= len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        if data[place : place + 4] == MAGIC:
            place += 4
            continue
        if not 0 < length <= LARGEST or data.startswith(OTHERS, place):
            break
        block = data[place + 4 : place + 4 + length]
        if len(block) < length:
            raise TruncatedError
        size = lz4.LZ4_decompress_safe(block, room, length, CHUNK)
        if size < 0:
            raise DamagedError(f"bad chunk at byte {place}")
        pieces.append(room.raw[:size])
        place += 4 + length
    return Unpacked(content=b"".join(pieces), length=place - start)


def pack(content: bytes, like: bytes) -> bytes:
    """One legacy stream."""
    del like
    lz4, room = _library(), ctypes.create_string_buffer(LARGEST)
    pieces = [MAGIC]
    for place in range(0, len(content), CHUNK):
        chunk = content[place : place + CHUNK]
        length = lz4.LZ4_compress_HC(chunk, room, len(chunk), LARGEST, LEVEL)
        pieces += [length.to_bytes(4, "little"), room.raw[:length]]
    return b"".join(pieces)


def _library() -> ctypes.CDLL:
    return library.opened(
        LIBRARY,
        {
            "LZ4_decompress_safe": (_number, (_pointer, _pointer, _number, _number)),
            "LZ4_compress_HC": (_number, (_pointer, _pointer, _number, _number, _number)),
        },
    )

"""zstd frames, as the kernel reads them (`lib/decompress_unzstd.c`): one, without a dictionary."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager

from imagebuilder.codec import library
from imagebuilder.codec.model import DamagedError, TruncatedError, Unpacked

LIBRARY = "libzstd.so.1"
MAGIC = b"(\xb5/\xfd"
LEVEL = 19
LEVELS = ((23, 19), (22, 9), (0, 3))  # by the least logarithm of the window
SINGLE_SEGMENT = 0x20
CHUNK = 2**20
COMPRESSION_LEVEL, CHECKSUM = 100, 201  # ZSTD_cParameter
_pointer, _size, _number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("start", _pointer), ("size", _size), ("place", _size))


def unpack(data: bytes, start: int) -> Unpacked:
    """One frame."""
    zstd = _library()
    source = ctypes.create_string_buffer(data[start:], len(data) - start)
    room = ctypes.create_string_buffer(CHUNK)
    taken = _Buffer(ctypes.addressof(source), len(source), 0)
    pieces, more = [], 1
    with _stream(zstd) as stream:
        while more:
            given = _Buffer(ctypes.addressof(room), CHUNK, 0)
            more = zstd.ZSTD_decompressStream(stream, ctypes.byref(given), ctypes.byref(taken))
            if zstd.ZSTD_isError(more):
                raise DamagedError(zstd.ZSTD_getErrorName(more).decode())
            pieces.append(room.raw[: given.place])
            if more and taken.place == taken.size and given.place < CHUNK:
                raise TruncatedError
    return Unpacked(content=b"".join(pieces), length=int(taken.place))


def pack(content: bytes, like: bytes) -> bytes:
    """One frame, with a checksum as the program zstd writes it; about as dense as `like`."""
    zstd = _library()
    room = ctypes.create_string_buffer(zstd.ZSTD_compressBound(len(content)))
    context = zstd.ZSTD_createCCtx()
    try:
        zstd.ZSTD_CCtx_setParameter(context, COMPRESSION_LEVEL, level(like))
        zstd.ZSTD_CCtx_setParameter(context, CHECKSUM, 1)
        length = zstd.ZSTD_compress2(context, room, len(room), content, len(content))
    finally:
        zstd.ZSTD_freeCCtx(context)
    if zstd.ZSTD_isError(length):
        raise DamagedError(zstd.ZSTD_getErrorName(length).decode())
    return room.raw[:length]


def level(like: bytes) -> int:
    """A level that has the window of the frame `like` begins with (RFC 8878, 3.1.1.1.2)."""
    if not like.startswith(MAGIC) or len(like) < 6 or like[4] & SINGLE_SEGMENT:
        return LEVEL
    window = 10 + (like[5] >> 3)
    return next((found for least, found in LEVELS if window >= least), LEVELS[-1][1])


@contextmanager
def _stream(zstd: ctypes.CDLL) -> Generator[int, None, None]:
    stream = zstd.ZSTD_createDStream()
    try:
        yield stream
    finally:
        zstd.ZSTD_freeDStream(stream)


def _library() -> ctypes.CDLL:
    two_buffers = (_pointer, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer))
    return library.opened(
        LIBRARY,
        {
            "ZSTD_createDStream": (_pointer, ()),
            "ZSTD_freeDStream": (_size, (_pointer,)),
            "ZSTD_decompressStream": (_size, two_buffers),
            "ZSTD_isError": (ctypes.c_uint, (_size,)),
            "ZSTD_getErrorName": (ctypes.c_char_p, (_size,)),
            "ZSTD_compressBound": (_size, (_size,)),
            "ZSTD_createCCtx": (_pointer, ()),
            "ZSTD_freeCCtx": (_size, (_pointer,)),
            "ZSTD_CCtx_setParameter": (_size, (_pointer, _number, _number)),
            "ZSTD_compress2": (_size, (_pointer, _pointer, _size, _pointer, _size)),
        },
    )

"""Single blocks of known greatest length, without the framing that streams have."""

from __future__ import annotations

import ctypes
import lzma
import zlib
from collections.abc import Callable, Mapping

from imagebuilder.codec import library, lz4, lzo, zstd
from imagebuilder.codec.model import DamagedError

_pointer, _size, _number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def unpack(kind: str, block: bytes, most: int) -> bytes:
    """The content of a block, which has at most `most` bytes; raise DamagedError if it is bad."""
    try:
        return UNPACKERS[kind](block, most)
    except (zlib.error, lzma.LZMAError) as error:
        raise DamagedError(str(error)) from error


def _gzip(block: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(block, most)


def _xz(block: bytes, most: int) -> bytes:
    return lzma.LZMADecompressor().decompress(block, most)


def _zstd(block: bytes, most: int) -> bytes:
    signature = (_size, (_pointer, _size, _pointer, _size))
    known = {
        "ZSTD_decompress": signature,
        "ZSTD_isError": (ctypes.c_uint, (_size,)),
    }
    opened, room = library.opened(zstd.LIBRARY, known), ctypes.create_string_buffer(most)
    length = opened.ZSTD_decompress(room, most, block, len(block))
    if opened.ZSTD_isError(length):
        raise DamagedError("not a zstd frame")
    return room.raw[:length]


def _lz4(block: bytes, most: int) -> bytes:
    known = {"LZ4_decompress_safe": (_number, (_pointer, _pointer, _number, _number))}
    room = ctypes.create_string_buffer(most)
    opened = library.opened(lz4.LIBRARY, known)
    length = opened.LZ4_decompress_safe(block, room, len(block), most)
    if length < 0:
        raise DamagedError("not a block of lz4")
    return room.raw[:length]


def _lzo(block: bytes, most: int) -> bytes:
    arguments = (_pointer, _size, _pointer, ctypes.POINTER(_size), _pointer)
    opened = library.opened(lzo.LIBRARY, {"lzo1x_decompress_safe": (_number, arguments)})
    room, length = ctypes.create_string_buffer(most), _size(most)
    if opened.lzo1x_decompress_safe(block, len(block), room, ctypes.byref(length), None):
        raise DamagedError("not a block of lzo")
    return room.raw[: length.value]


UNPACKERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip, "lzma": _xz, "xz": _xz, "zstd": _zstd, "lz4": _lz4, "lzo": _lzo,
}  # fmt: skip

"""One compressed cluster of a qcow2 file, unpacked into room that is there.

The file says in how many sectors it lies, not where it ends (QEMU, docs/interop/qcow2.rst).
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from ctypes import c_char

from imagebuilder.codec import library, zstd
from imagebuilder.codec.model import DamagedError

WINDOW = -12  # raw deflate with a window of 2**12 bytes
_pointer, _size = ctypes.c_void_p, ctypes.c_size_t

# Unpacks what begins a buffer into all of the target; how many bytes of the buffer it was.
Unpack = Callable[[bytearray, memoryview], int]


def unpacker(kind: str) -> Unpack:
    """What unpacks clusters of "zlib" or "zstd"; raise ToolMissingError without its library."""
    return _inflate if kind == "zlib" else _zstd()


def _inflate(packed: bytearray, target: memoryview) -> int:
    stream = zlib.decompressobj(WINDOW)
    try:
        content = stream.decompress(packed, len(target))
    except zlib.error as error:
        raise DamagedError(str(error)) from error
    if len(content) != len(target):
        raise DamagedError("a compressed cluster is too short")
    target[:] = content
    stream.decompress(stream.unconsumed_tail, 1)  # the mark of the end, if it was not read yet
    return len(packed) - len(stream.unused_data)


def _zstd() -> Unpack:
    known = library.opened(
        zstd.LIBRARY,
        {
            "ZSTD_decompress": (_size, (_pointer, _size, _pointer, _size)),
            "ZSTD_findFrameCompressedSize": (_size, (_pointer, _size)),
            "ZSTD_isError": (ctypes.c_uint, (_size,)),
        },
    )

    def unpack(packed: bytearray, target: memoryview) -> int:
        source = (c_char * len(packed)).from_buffer(packed)
        length: int = known.ZSTD_findFrameCompressedSize(source, len(packed))
        if known.ZSTD_isError(length):
            raise DamagedError("a compressed cluster is not a zstd frame")
        room = (c_char * len(target)).from_buffer(target)
        if known.ZSTD_decompress(room, len(target), source, length) != len(target):
            raise DamagedError("a compressed cluster is damaged")
        return length

    return unpack

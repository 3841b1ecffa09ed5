"""libzstd, as far as it takes to compress many small pieces with one context.

Making a context costs more than compressing a piece of 64 KiB with it. Calls through ctypes let
other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from imagebuilder.errors import BuildError, ToolMissingError

LIBRARY = "libzstd.so.1"
Buffer = ctypes.Array[ctypes.c_char]


class Compressor:
    """One context. Only one thread may use it at a time."""

    def __init__(self, handle: int, level: int) -> None:
        self.handle, self.level = handle, level

    def compress(self, content: bytes | Buffer, buffer: Buffer, start: int) -> int:
        """Write `content` as a frame into `buffer` from `start` on; return the frame's length.

        Raise BuildError if there is less room than `bound(len(content))`.
        """
        library, room = _library(), len(buffer) - start
        if room < bound(len(content)):
            raise BuildError(f"{room} bytes are no room for a frame", where=LIBRARY)
        target = ctypes.byref(buffer, start)
        length: int = library.ZSTD_compressCCtx(
            self.handle, target, room, content, len(content), self.level
        )
        if library.ZSTD_isError(length):
            raise BuildError(library.ZSTD_getErrorName(length).decode(), where=LIBRARY)
        return length


def available() -> bool:
    """Whether the library is there."""
    try:
        _library()
    except ToolMissingError:
        return False
    return True


def version() -> str:
    """The library's version; raise ToolMissingError without the library."""
    return str(_library().ZSTD_versionNumber())


@contextmanager
def compressor(level: int) -> Generator[Compressor, None, None]:
    """A context for frames of that level; raise ToolMissingError without the library."""
    handle = _library().ZSTD_createCCtx()
    if not handle:
        raise MemoryError
    try:
        yield Compressor(handle, level)
    finally:
        _library().ZSTD_freeCCtx(handle)


@cache
def bound(length: int) -> int:
    """The most bytes that a frame of `length` bytes takes."""
    return int(_library().ZSTD_compressBound(length))


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ToolMissingError(
            f"{LIBRARY} is not installed", hint="Debian and Ubuntu have it in libzstd1"
        ) from error
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    number, flag = ctypes.c_int, ctypes.c_uint
    signatures: dict[str, tuple[type, tuple[type, ...]]] = {
        "ZSTD_createCCtx": (pointer, ()),
        "ZSTD_freeCCtx": (size, (pointer,)),
        "ZSTD_compressCCtx": (size, (pointer, pointer, size, pointer, size, number)),
        "ZSTD_compressBound": (size, (size,)),
        "ZSTD_versionNumber": (flag, ()),
        "ZSTD_isError": (flag, (size,)),
        "ZSTD_getErrorName": (ctypes.c_char_p, (size,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library

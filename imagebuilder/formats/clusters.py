"""How clusters of a qcow2 file may be compressed, by QEMU's names.

What is made anew is zstd. zlib is for the image that was zlib before: of it, clusters that nobody
has changed stay as they are, and whoever could read it can read the new one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from imagebuilder.formats import zstd

ZSTD_LEVEL, ZLIB_LEVEL = 2, 6
WINDOW = -12  # raw deflate with a window of 2**12 bytes, which readers have
MEMORY = 9  # as QEMU has it


class Compressor(Protocol):
    """What one thread compresses clusters with."""

    def compress(self, content: bytes | zstd.Buffer, buffer: zstd.Buffer, start: int) -> int:
        """Write `content` compressed into `buffer` from `start` on, if it shrinks; the length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way; `type` is its number in the header."""

    type: int
    description: Callable[[], str]  # equal for compressors that give equal bytes
    compressor: Callable[[], AbstractContextManager[Compressor]]


class _Deflate:
    """zlib; a stream for every cluster is how QEMU has it too."""

    def compress(self, content: bytes | zstd.Buffer, buffer: zstd.Buffer, start: int) -> int:
        """As the protocol says."""
        stream = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, WINDOW, MEMORY)
        packed = stream.compress(content) + stream.flush()
        if len(packed) < len(content):
            memoryview(buffer).cast("B")[start : start + len(packed)] = packed
        return len(packed)


@contextmanager
def _deflate() -> Generator[Compressor, None, None]:
    yield _Deflate()


KINDS: Mapping[str, Kind] = {
    "zlib": Kind(
        type=0,
        description=lambda: f"zlib {zlib.ZLIB_RUNTIME_VERSION} level {ZLIB_LEVEL}",
        compressor=_deflate,
    ),
    "zstd": Kind(
        type=1,
        description=lambda: f"zstd {zstd.version()} level {ZSTD_LEVEL}",
        compressor=lambda: zstd.compressor(ZSTD_LEVEL),
    ),
}

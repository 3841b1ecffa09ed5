"""Where files have data.

A filesystem may take for data what was a hole a moment ago (ext4: blocks that are set aside and
unwritten, once somebody has read them). What has to be the same for equal files goes by `filled`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
from collections.abc import Iterator

CHUNK = 4 * 2**20
BLOCK = 1 << 16
SHORTEST = 2**20  # of the holes that a copy of a file should have too


def extents(fd: int) -> Iterator[tuple[int, int]]:
    """Where the file has data: (start, end) in bytes, in order."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def blocks(path: str, size: int, block: int) -> Iterator[tuple[int, int]]:
    """Where the file has data, in blocks: (first block, blocks); holes below 1 MiB are data.

    Whether there are small ones is often a matter of chance: `cp` makes some of a file's zeros if
    just then the filesystem has not allocated all of it, and package scripts use `cp`.
    """
    begun = end = 0
    with pathlib.Path(path).open("rb", buffering=0) as file:
        for start, stop in extents(file.fileno()):
            start, stop = start // block, -(-min(stop, size) // block)
            if (start - end) * block >= SHORTEST:
                if end > begun:
                    yield begun, end - begun
                begun = start
            end = stop
    last = -(-size // block)
    if (last - end) * block < SHORTEST:
        end = last
    if end > begun:
        yield begun, end - begun


def filled(fd: int, block: int) -> Iterator[tuple[int, bytes]]:
    """All blocks of a file that are not zeros, with their offsets: of equal files the same.

    Raise OSError if the file has become shorter.
    """
    zeros, at = bytes(block), 0
    for start, end in extents(fd):
        at = max(at, start // block * block)
        while at < end:
            chunk = os.pread(fd, min(CHUNK, -(-(end - at) // block) * block), at)
            if not chunk:
                raise OSError(errno.EIO, "became shorter while it was read")
            for offset in range(0, len(chunk), block):
                content = chunk[offset : offset + block]
                if content != zeros[: len(content)]:
                    yield at + offset, content
            at += len(chunk)


def digest(fd: int) -> str:
    """The SHA-256 of a file's size, of what of it is not zeros, and of where that is.

    Holes are not read, and equal files have equal digests. Raise OSError as `filled` does.
    """
    found = hashlib.sha256(str(os.fstat(fd).st_size).encode())
    for offset, content in filled(fd, BLOCK):
        found.update(offset.to_bytes(8))
        found.update(content)
    return found.hexdigest()

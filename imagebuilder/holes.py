"""Where files have data.

A filesystem may take for data what was a hole a moment ago (ext4: blocks that are set aside and
unwritten, once somebody has read them). What has to be the same for equal files goes by `filled`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

CHUNK = 4 * 2**20
BLOCK = 1 << 16
PAUSE = 0.01  # seconds
SHORTEST = 2**20  # of the holes that a copy of a file should have too


def extents(fd: int, begin: int = 0) -> Iterator[tuple[int, int]]:
    """Where the file has data from `begin` on: (start, end) in bytes, in order."""
    end = begin
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


def filled(
    fd: int, block: int, begin: int = 0, limit: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """All blocks of a file that are not zeros, with their offsets: of equal files the same.

    Those from `begin` to `limit`, both bytes and blocks' boundaries. Raise OSError if the file
    has become shorter.
    """
    zeros, at = bytes(block), begin
    for start, found in extents(fd, begin):
        at = max(at, start // block * block)
        end = found if limit is None else min(found, limit)
        while at < end:
            chunk = os.pread(fd, min(CHUNK, -(-(end - at) // block) * block), at)
            if not chunk:
                raise OSError(errno.EIO, "became shorter while it was read")
            for offset in range(0, len(chunk), block):
                content = chunk[offset : offset + block]
                if content != zeros[: len(content)]:
                    yield at + offset, content
            at += len(chunk)
        if end != found:
            return


def digest(fd: int) -> str:
    """The SHA-256 of what of a file is not zeros, of where that is, and of the file's size.

    The first block comes after all others. Holes are not read, and equal files have equal
    digests. Raise OSError as `filled` does.
    """
    return _Digest(fd).end()


@contextmanager
def digesting(fd: int) -> Generator[Callable[[], str], None, None]:
    """The digest of a file that somebody writes from front to back, but for its first block.

    It is worked out meanwhile. What is given waits for it, when all has been written.
    """
    complete = Event()

    def follow() -> str:
        found = _Digest(fd)
        while not complete.wait(PAUSE):
            found.advance(os.fstat(fd).st_size)
        return found.end()

    def result() -> str:
        complete.set()
        return following.result()

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        try:
            yield result
        finally:
            complete.set()


class _Digest:
    """A digest of as much of a file as there is; the first block has the last word."""

    def __init__(self, fd: int) -> None:
        self.fd, self.at, self.found = fd, BLOCK, hashlib.sha256()

    def advance(self, size: int) -> None:
        """Take all whole blocks of the first `size` bytes."""
        limit = size // BLOCK * BLOCK
        if limit > self.at:
            self._take(self.at, limit)
            self.at = limit

    def end(self) -> str:
        """Take the rest of the file; the digest in hexadecimal."""
        self._take(self.at, None)
        self._take(0, BLOCK)
        self.found.update(os.fstat(self.fd).st_size.to_bytes(8))
        return self.found.hexdigest()

    def _take(self, begin: int, limit: int | None) -> None:
        for offset, content in filled(self.fd, BLOCK, begin, limit):
            self.found.update(offset.to_bytes(8))
            self.found.update(content)

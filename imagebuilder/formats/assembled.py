"""A disk as its readers see it, whether its bytes are in its own file or still in others."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from heapq import merge
from pathlib import Path

from imagebuilder import holes
from imagebuilder.disk.image import CLUSTER, Borrowed, Image, changed
from imagebuilder.errors import BuildError
from imagebuilder.formats import sparse

BLOCK = 4096  # the largest that a filesystem has
CHUNK = 2**20
ZEROS = memoryview(bytes(CHUNK))
MOST_WORKERS = 8
PART = struct.Struct(">QQQ")
FRESH = 2 * 10**9  # ns; some filesystems have whole seconds only


class Disk:
    """A disk that is open for reading; threads may share it."""

    def __init__(self, fd: int, image: Image) -> None:
        self.fd, self.file, self.borrowed = fd, image.file, image.borrowed
        self.size = os.fstat(fd).st_size
        self.starts = array("Q", (each.start for each in image.borrowed))
        self.own = list(holes.extents(fd)) if image.borrowed else []
        self.settled = time.time_ns() - FRESH

    def extents(self) -> Iterator[tuple[int, int]]:
        """Where there is data, in order, (start, end) in bytes; some may be in two of them."""
        borrowed = ((each.start, each.start + each.length) for each in self.borrowed)
        return merge(holes.extents(self.fd), borrowed)

    def origin(self, start: int, end: int) -> bytes:
        """What stands for these bytes: the SHA-256 of which bytes of which files they are.

        Nothing if some are the disk's own, or a file is not known well enough: one that has just
        been changed may change again in the same tick of its filesystem's clock.
        """
        found = hashlib.sha256()
        for each in self._within(start, end):
            first, last = max(each.start, start), min(each.start + each.length, end)
            if first < last:
                if not each.stamp or changed(each.stamp) > self.settled:
                    return b""
                place = PART.pack(first - start, last - start, each.offset + first - each.start)
                found.update(each.stamp + place)
        return b"" if self._is_own(start, end) else found.digest()

    def _is_own(self, start: int, end: int) -> bool:
        """Whether the file itself has data there."""
        at = bisect_left(self.own, (end,)) - 1
        return at < 0 or self.own[at][1] > start

    def read(self, start: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `start` on, and with zeros beyond the disk's end.

        Raise BuildError if a file has become shorter.
        """
        length = min(len(target), self.size - start)
        if not self._is_all_borrowed(start, length):
            _read(self.fd, start, target[:length], self.file)
        for each in self._within(start, start + length):
            self._copy(each, start, target[:length])
        target[length:] = bytes(len(target) - length)

    def _is_all_borrowed(self, start: int, length: int) -> bool:
        at = bisect_right(self.starts, start) - 1
        if at < 0:
            return False
        each = self.borrowed[at]
        return start + length <= each.start + each.length

    def _within(self, start: int, end: int) -> Iterator[Borrowed]:
        """What is borrowed of the bytes from `start` to `end`."""
        at = max(0, bisect_right(self.starts, start) - 1)
        while at < len(self.starts) and self.starts[at] < end:
            yield self.borrowed[at]
            at += 1

    def _copy(self, each: Borrowed, start: int, target: memoryview) -> None:
        first = max(each.start, start)
        last = min(each.start + each.length, start + len(target))
        if first >= last:
            return
        fd = os.open(each.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            offset = each.offset + first - each.start
            _read(fd, offset, target[first - start : last - start], Path(each.path))
        finally:
            os.close(fd)


@contextmanager
def opened(image: Image) -> Generator[Disk, None, None]:
    """The disk of which `image` tells where it is."""
    with image.file.open("rb", buffering=0) as file:
        yield Disk(file.fileno(), image)


def whole(image: Image) -> Path:
    """Write into the image's own file whatever is borrowed; return the file."""
    with opened(image) as disk, image.file.open("r+b", buffering=0) as file:
        _return(disk, file.fileno())
    return image.file


def copy(image: Image, target: Path) -> None:
    """Make the empty file `target` equal to the disk, with holes where it has some."""
    with opened(image) as disk, target.open("wb", buffering=0) as file:
        sparse.copy(disk.fd, file.fileno())
        _return(disk, file.fileno())


@contextmanager
def digesting(
    image: Image, algorithms: Iterable[str]
) -> Generator[Callable[[], Mapping[str, str]], None, None]:
    """Work out the disk's digests in threads; what is given waits for them.

    Meanwhile the file may be completed, or copied.
    """
    wanted = tuple(algorithms)
    if not wanted:
        yield dict
        return
    with opened(image) as disk, ThreadPoolExecutor(len(wanted)) as pool:
        pieces = tuple(_pieces(disk))
        found = {name: pool.submit(_digest, disk, pieces, name) for name in wanted}
        yield lambda: {name: future.result() for name, future in found.items()}


def _pieces(disk: Disk) -> Iterator[tuple[int, int, bool]]:
    """The whole disk as (start, end, whether there is data), CHUNK at most."""
    last = 0
    for start, end in disk.extents():
        for piece in ((last, start, False), (max(last, start), end, True)):
            yield from ((*cut, piece[2]) for cut in _cut(*piece[:2]))
        last = max(last, end)
    yield from ((*cut, False) for cut in _cut(last, disk.size))


def _digest(disk: Disk, pieces: Iterable[tuple[int, int, bool]], algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(CHUNK))
    for start, end, data in pieces:
        content = buffer[: end - start] if data else ZEROS[: end - start]
        if data:
            disk.read(start, content)
        digest.update(content)
    return digest.hexdigest()


def allocated(image: Image) -> int:
    """The bytes that the disk takes in a file with the same holes."""
    if image.packed and image.packed.kept:
        return CLUSTER * (len(image.packed.kept) + len(image.packed.others))
    borrowed = sum(each.length for each in image.borrowed)
    return image.file.stat().st_blocks * 512 + borrowed


def _return(disk: Disk, target: int) -> None:
    """Write what is borrowed to its place in the file `target`, on all cores."""
    workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    stretches = list(_stretches(disk.borrowed))
    with ThreadPoolExecutor(workers) as pool:
        shares = [stretches[number::workers] for number in range(workers)]
        for done in [pool.submit(_write, disk, target, share) for share in shares]:
            done.result()


def _stretches(borrowed: Iterable[Borrowed]) -> Iterator[tuple[int, int]]:
    """What is borrowed, without a break where a file does not fill its last block."""
    begun = end = 0
    for each in borrowed:
        if each.start - end >= BLOCK or each.start + each.length - begun > CHUNK:
            yield from _cut(begun, end)
            begun = each.start
        end = each.start + each.length
    yield from _cut(begun, end)


def _cut(start: int, end: int) -> Iterator[tuple[int, int]]:
    return ((at, min(end, at + CHUNK)) for at in range(start, end, CHUNK))


def _write(disk: Disk, fd: int, stretches: Iterable[tuple[int, int]]) -> None:
    buffer = memoryview(bytearray(CHUNK))
    for start, end in stretches:
        content = buffer[: end - start]
        disk.read(start, content)
        while content:
            done = os.pwrite(fd, content, start)
            content, start = content[done:], start + done


def _read(fd: int, start: int, target: memoryview, path: Path) -> None:
    done = 0
    while done < len(target):
        count = os.preadv(fd, [target[done:]], start + done)
        if not count:
            raise BuildError("became shorter while it was read", where=str(path))
        done += count

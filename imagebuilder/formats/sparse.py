"""Files with holes, read and copied without touching the holes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from imagebuilder.errors import BuildError
from imagebuilder.holes import extents

CHUNK = 4 * 2**20
STEP = 64 * 2**20  # bytes after which the disk is given what is there
NO_RANGES = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
ZEROS = memoryview(bytes(CHUNK))


def copy(source: int, target: int) -> None:
    """Make the empty file `target` equal to `source`, holes included.

    Filesystems that can share the blocks do. The disk begins to write while the rest is copied.
    """
    for start, end in extents(source):
        while start < end:
            copied = _some(source, target, start, min(STEP, end - start))
            if not copied:
                raise BuildError("became shorter while it was copied", where=_name(source))
            os.posix_fadvise(target, start, copied, os.POSIX_FADV_DONTNEED)  # starts writing
            start += copied
    os.ftruncate(target, os.fstat(source).st_size)


def _some(source: int, target: int, start: int, length: int) -> int:
    """Copy bytes to the same place, up to `length`; return how many."""
    try:
        return os.copy_file_range(source, target, length, start, start)
    except OSError as error:
        if error.errno not in NO_RANGES:
            raise
    os.lseek(target, start, os.SEEK_SET)
    return os.sendfile(target, source, start, length)


def digests(fd: int, algorithms: Iterable[str]) -> Mapping[str, str]:
    """The hexadecimal digest of a file for each algorithm, all worked out at once."""
    with digesting(fd, algorithms) as result:
        return result()


@contextmanager
def digesting(
    fd: int, algorithms: Iterable[str]
) -> Generator[Callable[[], Mapping[str, str]], None, None]:
    """Work out the digests in threads of their own; what is given waits for them."""
    wanted = tuple(algorithms)
    if not wanted:
        yield dict
        return
    pieces = tuple(_pieces(fd))
    with ThreadPoolExecutor(len(wanted)) as pool:
        found = {name: pool.submit(_digest, fd, pieces, name) for name in wanted}
        yield lambda: {name: future.result() for name, future in found.items()}


def _digest(fd: int, pieces: Iterable[tuple[int, int, bool]], algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for start, length, hole in pieces:
        for offset in range(0, length, CHUNK):
            size = min(CHUNK, length - offset)
            digest.update(ZEROS[:size] if hole else os.pread(fd, size, start + offset))
    return digest.hexdigest()


def _pieces(fd: int) -> Iterator[tuple[int, int, bool]]:
    """The whole file as (start, length, whether it is a hole)."""
    last = 0
    for start, end in extents(fd):
        yield last, start - last, True
        yield start, end - start, False
        last = end
    yield last, os.fstat(fd).st_size - last, True


def _name(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())

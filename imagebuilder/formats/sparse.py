"""Files with holes, read and copied without touching the holes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from imagebuilder.errors import BuildError
from imagebuilder.holes import extents

CHUNK = 4 * 2**20
ZEROS = memoryview(bytes(CHUNK))


def copy(source: int, target: int) -> None:
    """Make the empty file `target` equal to `source`, holes included."""
    for start, end in extents(source):
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            copied = os.sendfile(target, source, start, end - start)
            if not copied:
                raise BuildError("became shorter while it was copied", where=_name(source))
            start += copied
    os.ftruncate(target, os.fstat(source).st_size)


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

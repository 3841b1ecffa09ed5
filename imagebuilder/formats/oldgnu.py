"""An archive of one file with holes, in GNU tar's old format ("Storing Sparse Files").

Written here because GNU tar takes what is a hole either from the filesystem, so that equal files
give different archives, or from reading them whole, holes included.
"""

from __future__ import annotations

import os
import struct
import tarfile
from collections.abc import Iterator, Sequence

from imagebuilder import holes

GRAIN = 4096
IN_HEADER, IN_EXTENSION = 4, 21  # entries of the map: (offset, length)
MAP, EXTENDED, REAL_SIZE, SUM = 386, 482, 483, 148
CHUNK = 2**20
OCTAL_LIMIT = 8**11
Stretches = Sequence[tuple[int, int]]


def archive(fd: int, name: str, epoch: int) -> Iterator[bytes]:
    """The archive of a file, piece by piece; its times are `epoch`, in seconds."""
    size = os.fstat(fd).st_size
    stretches = list(_stretches(fd, size))
    yield from _headers(name, size, epoch, [*stretches, (size, 0)])
    for start, length in stretches:
        for offset in range(start, start + length, CHUNK):
            yield os.pread(fd, min(CHUNK, start + length - offset), offset)
    stored = sum(length for _, length in stretches)
    yield bytes(-stored % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def _stretches(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """What is to be stored: (offset, length), in order and as long as may be."""
    begun = end = 0
    for offset, _ in holes.filled(fd, GRAIN):
        if offset != end:
            if end > begun:
                yield begun, end - begun
            begun = offset
        end = offset + GRAIN
    if end > begun:
        yield begun, min(end, size) - begun


def _headers(name: str, size: int, epoch: int, stretches: Stretches) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = sum(length for _, length in stretches)
    info.mtime, info.mode, info.type = epoch, 0o644, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    here, rest = stretches[:IN_HEADER], stretches[IN_HEADER:]
    _enter(header, MAP, here)
    header[EXTENDED] = bool(rest)
    header[REAL_SIZE : REAL_SIZE + 12] = _number(size)
    header[SUM : SUM + 8] = b" " * 8
    header[SUM : SUM + 8] = b"%06o\0 " % sum(header)
    yield bytes(header)
    while rest:
        block = bytearray(tarfile.BLOCKSIZE)
        here, rest = rest[:IN_EXTENSION], rest[IN_EXTENSION:]
        _enter(block, 0, here)
        block[IN_EXTENSION * 24] = bool(rest)
        yield bytes(block)


def _enter(block: bytearray, at: int, stretches: Stretches) -> None:
    for number, (offset, length) in enumerate(stretches):
        start = at + number * 24
        block[start : start + 24] = _number(offset) + _number(length)


def _number(value: int) -> bytes:
    """Octal, or in base 256 where that has too few digits."""
    return b"%011o\0" % value if value < OCTAL_LIMIT else struct.pack(">IQ", 1 << 31, value)

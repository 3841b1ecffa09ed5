"""A disk that some cloud wants to be of a rounder size, as long as it is read.

A GPT has its second copy in the disk's last sectors, and says in three places how large the disk
is (UEFI 2.10, section 5.3). All of that is made to fit the new size, and put back afterwards.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagebuilder.sizes import Size

SECTORS = (512, 4096)
SIGNATURE = b"EFI PART"
# Header: size, sum, this copy's place, the other's, last usable sector; array: place, count, size.
HEADER_SIZE, SUM, OWN, OTHER, LAST, ARRAY = 12, 16, 24, 32, 48, 72
PROTECTIVE_TYPE, PROTECTIVE_SIZE = 446 + 4, 446 + 12  # in the MBR's first entry


@contextmanager
def grown(disk: Path, step: int) -> Generator[None, None, None]:
    """Have the disk's size, in bytes, a multiple of `step` inside the context."""
    size = disk.stat().st_size
    wanted = Size(size).up_to(step)
    if wanted == size:
        yield
        return
    with disk.open("r+b", buffering=0) as file:
        fd = file.fileno()
        pieces = list(_pieces(fd, size, wanted))
        before = [(at, os.pread(fd, len(content), at)) for at, content in pieces if at < size]
        try:
            os.ftruncate(fd, wanted)
            for at, content in pieces:
                os.pwrite(fd, content, at)
            yield
        finally:
            os.ftruncate(fd, size)
            for at, content in before:
                os.pwrite(fd, content[: size - at], at)


def _pieces(fd: int, size: int, wanted: int) -> Iterator[tuple[int, bytes]]:
    """What a GPT has to say of the new size, as (offset, bytes); nothing without a GPT."""
    for sector in SECTORS:
        header = os.pread(fd, sector, sector)
        if not header.startswith(SIGNATURE) or wanted % sector:
            continue
        length = len(header)
        array, count, entry = struct.unpack_from("<QII", header, ARRAY)
        entries = os.pread(fd, count * entry, array * sector)
        last = wanted // sector - 1
        room = -(-len(entries) // sector)
        old = struct.unpack_from("<Q", header, OTHER)[0] * sector
        if old < size:
            yield old - room * sector, bytes(room * sector + length)
        if os.pread(fd, 1, PROTECTIVE_TYPE) == b"\xee":
            yield PROTECTIVE_SIZE, struct.pack("<I", min(last, 2**32 - 1))
        yield sector, _header(header, 1, last, array, last - room - 1)
        yield (last - room) * sector, entries.ljust(room * sector, b"\0")
        yield last * sector, _header(header, last, 1, last - room, last - room - 1)
        return


def _header(header: bytes, own: int, other: int, array: int, last: int) -> bytes:
    content = bytearray(header)
    struct.pack_into("<QQ", content, OWN, own, other)
    struct.pack_into("<Q", content, LAST, last)
    struct.pack_into("<Q", content, ARRAY, array)
    struct.pack_into("<I", content, SUM, 0)
    (size,) = struct.unpack_from("<I", content, HEADER_SIZE)
    struct.pack_into("<I", content, SUM, zlib.crc32(content[:size]))
    return bytes(content)

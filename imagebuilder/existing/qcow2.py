"""The disk in a qcow2 file, and what its clusters are compressed to (QEMU, docs/interop/qcow2.rst).

A cluster that nobody changes need not be compressed again.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from imagebuilder.codec.model import DamagedError
from imagebuilder.disk.image import CLUSTER, Packed, Place
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.existing.cluster import Unpack, unpacker

HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
FURTHER = struct.Struct(">QQQIIB")  # features, reference counts, length, kind of compression
MAGIC, VERSION_3 = b"QFI\xfb", 3
ANOTHER_COMPRESSION = 1 << 3  # the one feature that is known here
KINDS = ("zlib", "zstd")
COMPRESSED, ZERO = 1 << 62, 1
PLACE = (1 << 56) - (1 << 9)
SECTOR = 512
RUN = 16  # clusters that a thread takes at a time
MOST_WORKERS = 8
Entry = tuple[int, int]  # number of a cluster of the disk, what the file says of it
Contents = dict[bytes, Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A qcow2 file that is open for reading, and what its header says."""

    path: Path
    fd: int
    bits: int  # a cluster has 2**bits bytes
    size: int  # of the disk, in bytes
    tables: tuple[int, ...]  # where level 2 tables are
    kind: str

    @property
    def cluster(self) -> int:
        """Bytes."""
        return 1 << self.bits

    @property
    def shift(self) -> int:
        """Where the number of sectors begins in the entry of a compressed cluster."""
        return 62 - (self.bits - 8)

    def entries(self) -> Iterator[Entry]:
        """What is said of the disk's clusters, in order; nothing of those that never had data."""
        for number, place in enumerate(self.tables):
            if place:
                table = _numbers(os.pread(self.fd, self.cluster, place))
                begun = number * (self.cluster // 8)
                yield from ((index, entry) for index, entry in enumerate(table, begun) if entry)

    def place(self, entry: int) -> Place:
        """Where a cluster's bytes are, and at most how many."""
        if not entry & COMPRESSED:
            return entry & PLACE, self.cluster
        offset = entry & ((1 << self.shift) - 1)
        sectors = (entry & (COMPRESSED - 1)) >> self.shift
        return offset, (sectors + 1) * SECTOR - offset % SECTOR


@contextmanager
def opened(image: Path) -> Generator[File | None, None, None]:
    """The file, if it is one whose every part is known here."""
    with image.open("rb", buffering=0) as file:
        yield _read_header(image, file.fileno())


def has_data(entry: int) -> bool:
    """Whether there are bytes for it in the file."""
    return bool(entry & COMPRESSED or (entry & PLACE and not entry & ZERO))


def is_compressed(file: File) -> bool:
    """Whether most clusters are, so that those that are not did not shrink; and of our size."""
    found = [bool(entry & COMPRESSED) for _, entry in file.entries() if has_data(entry)]
    return file.cluster == CLUSTER and 2 * sum(found) > len(found)


def kept(file: File, changed: Iterable[int]) -> dict[int, Place]:
    """Where those clusters are that have not been changed, in order of their numbers.

    A compressed one says only in how many sectors it lies. It is shorter than a cluster, and ends
    where the next one begins, at the latest.
    """
    every = [(number, entry) for number, entry in file.entries() if has_data(entry)]
    starts = [*sorted(file.place(entry)[0] for _, entry in every), os.fstat(file.fd).st_size]
    gone, found = frozenset(changed), {}
    for number, entry in every:
        if number not in gone:
            offset, length = file.place(entry)
            if entry & COMPRESSED:
                following = starts[bisect_right(starts, offset)]
                length = min(length, following - offset, file.cluster - 1)
            found[number] = offset, length
    return found


def write_raw(file: File, target: Path, unpack: Unpack) -> Packed:
    """Write the disk as the file `target`, with holes.

    That it is complete has been checked. Raise ConfigError if a cluster is damaged, or OSError.
    """
    contents: Contents = {}
    try:
        with target.open("wb", buffering=0) as raw:
            raw.truncate(file.size)
            for found in _unpacked(file, raw.fileno(), unpack):
                contents.update(found)
    except DamagedError as error:
        raise ConfigError(
            f"is damaged: {error}",
            where=str(file.path),
            hint="the file may not be complete; copy or download it again",
        ) from error
    return Packed(
        name=str(file.path),
        file=file.path,
        kind=file.kind,
        read=os.fstat(file.fd),
        contents=contents,
    )


def find_unpacker(file: File) -> Unpack | None:
    """What unpacks its clusters, if the host has it."""
    try:
        return unpacker(file.kind)
    except ToolMissingError:
        return None


def _read_header(path: Path, fd: int) -> File | None:
    head = os.pread(fd, HEADER.size + FURTHER.size, 0).ljust(HEADER.size + FURTHER.size, b"\0")
    magic, version, backing, _, bits, size, crypt, entries, start, *_ = HEADER.unpack_from(head)
    features, kind = 0, 0
    if version == VERSION_3:
        features, _, _, _, length, kind = FURTHER.unpack_from(head, HEADER.size)
        kind = kind if length >= HEADER.size + FURTHER.size else 0
    if magic != MAGIC or backing or crypt or features & ~ANOTHER_COMPRESSION or kind >= len(KINDS):
        return None
    level1 = _numbers(os.pread(fd, 8 * entries, start))
    tables = tuple(entry & PLACE for entry in level1)
    return File(path=path, fd=fd, bits=bits, size=size, tables=tables, kind=KINDS[kind])


def _unpacked(file: File, raw: int, unpack: Unpack) -> Iterator[Contents]:
    """Write all clusters; what each run was compressed to."""
    workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    waiting: deque[Future[Contents]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for run in _runs(entry for entry in file.entries() if has_data(entry[1])):
                waiting.append(pool.submit(_write_run, file, raw, run, unpack))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _runs(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ...]]:
    remaining = iter(entries)
    while run := tuple(islice(remaining, RUN)):
        yield run


def _write_run(file: File, raw: int, run: tuple[Entry, ...], unpack: Unpack) -> Contents:
    content, zeros = bytearray(file.cluster), bytes(file.cluster)
    view, found = memoryview(content), {}
    for number, entry in run:
        offset, length = file.place(entry)
        if entry & COMPRESSED:
            packed = bytearray(length)
            del packed[os.preadv(file.fd, [packed], offset) :]
            length = unpack(packed, view)
        elif os.preadv(file.fd, [view], offset) != length:
            raise DamagedError("a cluster lies beyond its end")
        at = number << file.bits
        if content != zeros and at < file.size:
            found[hashlib.sha256(content).digest()] = offset, length
            os.pwrite(raw, view[: file.size - at], at)
    return found


def _numbers(content: bytes) -> array[int]:
    """The 64-bit big-endian numbers of a table."""
    numbers = array("Q", content[: len(content) // 8 * 8])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers

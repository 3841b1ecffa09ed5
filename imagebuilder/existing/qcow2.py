"""The disk in a qcow2 file, read on all cores (QEMU, docs/interop/qcow2.rst).

It is written as a raw file, and what each cluster was compressed to is remembered: a cluster
that nobody changes need not be compressed again.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from imagebuilder.codec.model import DamagedError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What clusters are compressed to in a file: SHA-256 to offset and length."""

    image: Path
    read: os.stat_result
    kind: str  # of KINDS
    cluster: int  # bytes
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_compressed(self) -> bool:
        """Whether most of its clusters are; those that are not did not shrink, then."""
        plain = sum(length == self.cluster for _, length in self.places.values())
        return 2 * plain < len(self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A qcow2 file that is open for reading, and what its header says."""

    fd: int
    bits: int  # a cluster has 2**bits bytes
    size: int  # of the disk, in bytes
    tables: tuple[int, ...]  # where level 2 tables are
    kind: str

    @property
    def cluster(self) -> int:
        return 1 << self.bits

    def read(self, offset: int, length: int) -> bytearray:
        """So many bytes, fewer at the end of the file."""
        content = bytearray(length)
        return content[: os.preadv(self.fd, [content], offset)]


def write_raw(image: Path, target: Path) -> Packed | None:
    """Write the disk as the file `target`, with holes; None, and no file, if that is qemu-img's.

    That it is complete has been checked. Raise ConfigError if a cluster is damaged, or OSError.
    """
    with image.open("rb", buffering=0) as source:
        file = _opened(source.fileno())
        if file is None:
            return None
        try:
            unpack = unpacker(file.kind)
        except ToolMissingError:
            return None
        read = os.fstat(source.fileno())
        packed = Packed(image=image, read=read, kind=file.kind, cluster=file.cluster)
        try:
            with target.open("wb", buffering=0) as raw:
                raw.truncate(file.size)
                for found in _unpacked(file, raw.fileno(), unpack):
                    packed.places.update(found)
        except DamagedError as error:
            raise ConfigError(
                f"is damaged: {error}",
                where=str(image),
                hint="the file may not be complete; copy or download it again",
            ) from error
    return packed


def _opened(fd: int) -> _File | None:
    """The file, if it is one whose every part is known here."""
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
    return _File(fd=fd, bits=bits, size=size, tables=tables, kind=KINDS[kind])


def _unpacked(file: _File, raw: int, unpack: Unpack) -> Iterator[dict[bytes, tuple[int, int]]]:
    """Write all clusters; what each run was compressed to."""
    workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    waiting: deque[Future[dict[bytes, tuple[int, int]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for run in _runs(_entries(file)):
                waiting.append(pool.submit(_write_run, file, raw, run, unpack))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _entries(file: _File) -> Iterator[Entry]:
    """The clusters of the disk that are in the file, in order."""
    per_table = file.cluster // 8
    for number, place in enumerate(file.tables):
        if not place:
            continue
        table = _numbers(os.pread(file.fd, file.cluster, place))
        for index, entry in enumerate(table, number * per_table):
            if entry & (COMPRESSED | PLACE) and (entry & COMPRESSED or not entry & ZERO):
                yield index, entry


def _runs(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ...]]:
    remaining = iter(entries)
    while run := tuple(islice(remaining, RUN)):
        yield run


def _write_run(
    file: _File, raw: int, run: tuple[Entry, ...], unpack: Unpack
) -> dict[bytes, tuple[int, int]]:
    content, zeros = bytearray(file.cluster), bytes(file.cluster)
    view, found = memoryview(content), {}
    for number, entry in run:
        place = _fill(file, entry, view, unpack)
        at = number << file.bits
        if content == zeros or at >= file.size:
            continue
        found[hashlib.sha256(content).digest()] = place
        os.pwrite(raw, view[: file.size - at], at)
    return found


def _fill(file: _File, entry: int, view: memoryview, unpack: Unpack) -> tuple[int, int]:
    """Read a cluster; the offset and length of what it is in the file."""
    if not entry & COMPRESSED:
        offset = entry & PLACE
        if os.preadv(file.fd, [view], offset) != len(view):
            raise DamagedError("a cluster lies beyond its end")
        return offset, len(view)
    shift = 62 - (file.bits - 8)
    offset = entry & ((1 << shift) - 1)
    sectors = (entry & (COMPRESSED - 1)) >> shift
    packed = file.read(offset, (sectors + 1) * SECTOR - offset % SECTOR)
    return offset, unpack(packed, view)


def _numbers(content: bytes) -> array[int]:
    """The 64-bit big-endian numbers of a table."""
    numbers = array("Q", content[: len(content) // 8 * 8])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers

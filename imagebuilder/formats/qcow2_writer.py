"""A compressed qcow2 file (QEMU, docs/interop/qcow2.rst, version 3): zstd, or what a memory says.

qemu-img makes a context of zstd anew for each cluster, which takes longer than compressing the
cluster. Here threads read and compress runs of clusters with contexts that stay, and one writes
the results in the order of the disk: the bytes do not depend on the number of threads.

The file is written from front to back: room for the header, data, level 2 tables, level 1
table, blocks of reference counts, their table; then the header. Clusters that do not shrink have
to begin at a cluster's boundary; they are held back until there are many, so that little is lost
before them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from ctypes import c_char, create_string_buffer
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple

from imagebuilder.disk.image import CLUSTER, Image
from imagebuilder.formats import zstd
from imagebuilder.formats.assembled import Disk, opened
from imagebuilder.formats.clusters import KINDS, Compressor, Kind
from imagebuilder.formats.memory import Index, Memory, Recollection, Taken, encode, recalled
from imagebuilder.sizes import Size

ZSTD = "zstd"
SECTOR = 512
CLUSTER_BITS = CLUSTER.bit_length() - 1
ENTRIES = CLUSTER // 8  # in a table of 64-bit entries
COUNTS = CLUSTER // 2  # in a block of 16-bit reference counts
COPIED, COMPRESSED = 1 << 63, 1 << 62
SECTORS_SHIFT = 62 - (CLUSTER_BITS - 8)  # where the number of further sectors begins
ZEROS = bytes(CLUSTER)
Cluster = c_char * CLUSTER
FORGETFUL = Memory()

# With 8 workers at most 16 MiB wait to be written, and as much again if nothing shrinks.
RUN = 16  # most clusters that a thread takes at a time
MOST_WORKERS = 8
HELD = 128  # clusters held back: 8 MiB
AHEAD = 16 * 2**20  # bytes after which the disk is told to begin to write

HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIB7x")
COMPRESSION_TYPE_BIT = 3
REFCOUNT_ORDER = 4  # counts of 2**4 bits
FEATURE_NAMES = 0x6803F857
NAMES = struct.pack(">BB46s", 0, COMPRESSION_TYPE_BIT, b"compression type")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Some clusters of the disk: those that shrank, in a row, and those that did not."""

    buffer: zstd.Buffer | None  # has the first kind, unless these are in another file already
    taken: Taken | None = None
    packed: list[tuple[int, int, bytes]] = field(default_factory=list)  # (number, bytes, digest)
    plain: list[tuple[int, bytes, bytes]] = field(default_factory=list)  # (number, content, digest)
    origins: dict[bytes, bytes] = field(default_factory=dict)  # digests by origin


class _Known(NamedTuple):
    """What is known of a cluster before it is read: where it comes from, if anything is."""

    key: bytes | int | None  # with which to find what it was compressed to
    origin: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Threads:
    """What the threads share: the disk, and for each a context and room for a run of clusters."""

    disk: Disk
    known: Recollection
    idle: SimpleQueue[tuple[Compressor, zstd.Buffer]]

    @contextmanager
    def lent(self) -> Generator[tuple[Compressor, zstd.Buffer], None, None]:
        """A context and room that nobody else uses meanwhile."""
        pair = self.idle.get()
        try:
            yield pair
        finally:
            self.idle.put(pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Where the disk's clusters are in the file, and what of the file is in use."""

    level2: dict[int, array[int]] = field(default_factory=dict)
    uses: array[int] = field(default_factory=lambda: array("H", (1,)))  # the header's cluster
    index: Index = field(default_factory=Index)

    def add_packed(self, cluster: int, start: int, length: int) -> None:
        """Have compressed bytes at `start` for a cluster of the disk."""
        sectors = (start + length - 1) // SECTOR - start // SECTOR
        self._enter(cluster, COMPRESSED | sectors << SECTORS_SHIFT | start)
        self._use(start, start + length)

    def add_plain(self, cluster: int, start: int) -> None:
        """Have a cluster of the disk as it is at `start`."""
        self._enter(cluster, COPIED | start)
        self._use(start, start + CLUSTER)

    def _enter(self, cluster: int, entry: int) -> None:
        table = self.level2.get(cluster // ENTRIES)
        if table is None:
            table = self.level2[cluster // ENTRIES] = array("Q", ZEROS)
        table[cluster % ENTRIES] = entry

    def _use(self, start: int, end: int) -> None:
        """Count one use more for every cluster of the file that has bytes of this range."""
        first, last = start // CLUSTER, (end - 1) // CLUSTER
        while len(self.uses) <= last:
            self.uses.append(0)
        for number in range(first, last + 1):
            self.uses[number] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All that follows the data, and the header; sizes and places are in clusters."""

    size: int  # of the disk, in bytes
    start: int
    map: Map
    type: int = KINDS[ZSTD].type  # of compression

    @property
    def level1_entries(self) -> int:
        """One for each level 2 table that the disk might have."""
        return -(-self.size // (ENTRIES * CLUSTER))

    @property
    def level1(self) -> int:
        """Where the level 1 table begins."""
        return self.start + len(self.map.level2)

    @property
    def blocks(self) -> int:
        """Where the blocks of reference counts begin."""
        return self.level1 + _clusters(8 * self.level1_entries)

    def header(self) -> bytes:
        """The file's first bytes."""
        blocks, tables = refcounts(self.blocks)
        fixed = HEADER.pack(
            b"QFI\xfb", 3,
            0, 0,  # no backing file
            CLUSTER_BITS, self.size,
            0,  # not encrypted
            self.level1_entries, self.level1 * CLUSTER,
            (self.blocks + blocks) * CLUSTER, tables,
            0, 0,  # no snapshots
            (1 << COMPRESSION_TYPE_BIT) if self.type else 0, 0, 0,
            REFCOUNT_ORDER, HEADER.size, self.type,
        )  # fmt: skip
        return fixed + struct.pack(">II", FEATURE_NAMES, len(NAMES)) + NAMES + bytes(8)

    def content(self) -> Iterator[bytes]:
        """The tables, each in whole clusters, in the order of their places."""
        numbers = sorted(self.map.level2)
        yield from (_big_endian(self.map.level2[number]) for number in numbers)
        level1 = array("Q", bytes(8 * self.level1_entries))
        for place, number in enumerate(numbers, self.start):
            level1[number] = COPIED | place * CLUSTER
        yield _padded(_big_endian(level1))
        blocks, tables = refcounts(self.blocks)
        own = array("H", (1,)) * (self.blocks + blocks + tables - self.start)
        yield _padded(_big_endian(self.map.uses + own))
        places = range(self.blocks, self.blocks + blocks)
        yield _padded(_big_endian(array("Q", (place * CLUSTER for place in places))))


def write(source: Image, target: Path, workers: int = 0, memory: Memory = FORGETFUL) -> bytes:
    """Write the disk `source` into the file `target`; `workers` 0 means all cores.

    Return an index for a later `memory`. Raise OSError where a file cannot be read or written.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), MOST_WORKERS)
    kind = KINDS[source.packed.kind if source.packed else ZSTD]
    with (
        opened(source) as disk,
        recalled(memory, kind.description(), source.packed) as known,
        target.open("wb") as file,
    ):
        file.seek(CLUSTER)
        with closing(_runs(disk, known, kind, workers)) as runs:
            placed = _write_data(runs, file)
        start = _clusters(file.tell())
        size = Size(disk.size).up_to(SECTOR)
        tables = Tables(size=size, start=start, map=placed, type=kind.type)
        file.seek(start * CLUSTER)
        file.writelines(tables.content())
        file.seek(0)
        file.write(tables.header())
    return encode(kind.description(), placed.index)


def refcounts(before: int) -> tuple[int, int]:
    """How many blocks of counts, and clusters of their table, a file takes that has `before`."""
    blocks = tables = 0
    while True:
        needed = -(-(before + blocks + tables) // COUNTS)
        if needed == blocks:
            return blocks, tables
        blocks, tables = needed, -(-needed // ENTRIES)


def _write_data(runs: Iterable[_Run], file: BinaryIO) -> Map:
    placed = Map()
    held: list[tuple[int, bytes, bytes]] = []
    begins = file.tell()
    for run in runs:
        begun = start = file.tell()
        placed.index.digests.update(run.origins)
        for cluster, length, digest in run.packed:
            placed.add_packed(cluster, start, length)
            if digest:
                placed.index.places[digest] = (start, length)
            start += length
        if run.taken:
            _copy(run.taken, file)
        elif run.buffer:
            file.write(memoryview(run.buffer)[: start - begun])
        if start - begins >= AHEAD:
            os.posix_fadvise(file.fileno(), begins, start - begins, os.POSIX_FADV_DONTNEED)
            begins = start
        held += run.plain
        if len(held) >= HELD:
            _write_plain(held, placed, file)
            held.clear()
    _write_plain(held, placed, file)
    return placed


def _copy(taken: Taken, file: BinaryIO) -> None:
    source, offset, length = taken
    file.flush()
    end = file.tell() + length
    while length:
        sent = os.sendfile(file.fileno(), source, offset, length)
        if not sent:
            raise OSError(errno.EIO, "an image became shorter while it was read")
        offset, length = offset + sent, length - sent
    file.seek(end)


def _write_plain(clusters: Iterable[tuple[int, bytes, bytes]], placed: Map, file: BinaryIO) -> None:
    for cluster, content, digest in clusters:
        start = file.seek(_clusters(file.tell()) * CLUSTER)
        placed.add_plain(cluster, start)
        if digest:
            placed.index.places[digest] = (start, CLUSTER)
        file.write(content)


def _runs(disk: Disk, known: Recollection, kind: Kind, workers: int) -> Generator[_Run, None, None]:
    """The disk's clusters in order, compressed by threads that are a little ahead."""
    length, most = RUN * CLUSTER + zstd.bound(CLUSTER), 2 * workers
    free = [create_string_buffer(length) for _ in range(most)]
    waiting: deque[Callable[[], _Run]] = deque()
    with _threads(disk, known, kind, workers) as shared, ThreadPoolExecutor(workers) as pool:
        for numbers in _with_data(disk, known):
            if len(waiting) == most:
                run = waiting.popleft()()
                yield run
                if run.buffer:
                    free.append(run.buffer)
            taken = known.together(numbers)
            if taken:
                waiting.append(partial(_unchanged, known, numbers, taken))
            else:
                waiting.append(pool.submit(_compressed, shared, numbers, free.pop()).result)
        yield from (result() for result in waiting)


def _unchanged(known: Recollection, numbers: Sequence[int], taken: Taken) -> _Run:
    packed = [(number, known.kept[number][2], b"") for number in numbers]
    return _Run(buffer=None, taken=taken, packed=packed)


@contextmanager
def _threads(
    disk: Disk, known: Recollection, kind: Kind, workers: int
) -> Generator[_Threads, None, None]:
    idle: SimpleQueue[tuple[Compressor, zstd.Buffer]] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(workers):
            context = stack.enter_context(kind.compressor())
            idle.put((context, create_string_buffer(RUN * CLUSTER)))
        yield _Threads(disk=disk, known=known, idle=idle)


def _with_data(disk: Disk, known: Recollection) -> Iterator[tuple[int, ...]]:
    """The numbers of the clusters that are not holes, in runs.

    Where runs end is the same for equal disks, whatever is a hole and what is written zeros.
    """
    allocated = merge(known.kept, known.others) if known.kept else _allocated(disk)
    for _, numbers in groupby(allocated, lambda number: number // RUN):
        yield tuple(numbers)


def _allocated(disk: Disk) -> Iterator[int]:
    following = 0
    for start, end in disk.extents():
        first = max(following, start // CLUSTER)
        following = max(following, _clusters(end))
        yield from range(first, following)


def _compressed(shared: _Threads, numbers: Sequence[int], buffer: zstd.Buffer) -> _Run:
    with shared.lent() as (context, content):
        run = _Run(buffer=buffer)
        known, room, end = shared.known, memoryview(buffer).cast("B"), 0
        looked = {number: _look_up(shared, number) for number in numbers}
        _read(shared.disk, [n for n in numbers if looked[n].key is None], content)
        for number, (key, origin) in looked.items():
            digest, cluster = key if isinstance(key, bytes) else b"", None
            length = known.find(key, room[end:])
            if not length:
                if key is not None:  # it cannot be had after all
                    _read(shared.disk, (number,), content)
                cluster = Cluster.from_buffer(content, number % RUN * CLUSTER)
                if _is_zeros(cluster):
                    continue
                digest = hashlib.sha256(cluster).digest()
                length = known.find(digest, room[end:]) or context.compress(cluster, buffer, end)
            if origin:
                run.origins[origin] = digest
            if length < CLUSTER:
                run.packed.append((number, length, digest))
                end += length
            else:
                run.plain.append((number, bytes(cluster or room[end : end + CLUSTER]), digest))
        return run


def _look_up(shared: _Threads, number: int) -> _Known:
    if number in shared.known.kept:
        return _Known(number, b"")
    origin = shared.disk.origin(number * CLUSTER, (number + 1) * CLUSTER)
    return _Known(shared.known.digests.get(origin), origin)


def _read(disk: Disk, numbers: Sequence[int], content: zstd.Buffer) -> None:
    """Read clusters of one run, each to its place in `content`."""
    view = memoryview(content).cast("B")
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        row = [number for _, number in group]
        at = row[0] % RUN * CLUSTER
        disk.read(row[0] * CLUSTER, view[at : at + len(row) * CLUSTER])


def _is_zeros(cluster: zstd.Buffer) -> bool:
    return memoryview(cluster).cast("B")[:SECTOR] == ZEROS[:SECTOR] and bytes(cluster) == ZEROS


def _clusters(length: int) -> int:
    """How many clusters that many bytes take."""
    return -(-length // CLUSTER)


def _padded(content: bytes) -> bytes:
    return content.ljust(_clusters(len(content)) * CLUSTER, b"\0")


def _big_endian(entries: array[int]) -> bytes:
    if sys.byteorder == "big":
        return entries.tobytes()
    swapped = array(entries.typecode, entries)
    swapped.byteswap()
    return swapped.tobytes()

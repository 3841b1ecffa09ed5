"""The geometry of FAT filesystems (Microsoft, "FAT: General Overview of On-Disk Format" 1.03).

Which kind a filesystem is follows from its number of clusters and from nothing else. mkfs.vfat
does not insist on that: in a large file it makes a "FAT32" which firmware and mtools read as
FAT16. So kind and cluster size are chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagebuilder.filesystems.measure import BLOCK, Measured
from imagebuilder.sizes import Size

# How many clusters a kind has; not too near the bounds, because some programs count otherwise
# by a few, and mkfs.vfat makes a few less than there could be.
MARGIN = 64
RANGES = {
    12: (MARGIN, 4084 - MARGIN),
    16: (4085 + MARGIN, 65524 - MARGIN),
    32: (65525 + MARGIN, 2**28 - MARGIN),
}
RESERVED = {12: 1, 16: 1, 32: 32}  # sectors
ROOT_ENTRIES = {12: 512, 16: 512, 32: 0}
ENTRY = 32
LONG_NAME = 13  # characters in one more entry
LARGEST_CLUSTER = 32 * 2**10
STEP = 4096
LARGEST = 2**40
USUAL = 4096  # bytes in a cluster from 260 MiB on
SMALL = 260 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of FAT (12, 16 or 32) and its clusters."""

    bits: int
    cluster: int  # bytes
    clusters: int


def shape(size: int, sector: int) -> Shape | None:
    """The best shape for a filesystem of `size` bytes, None if there is none.

    FAT32 wherever it can be, as firmware expects it of an EFI system partition, with clusters
    of one sector below 260 MiB.
    """
    for kind in (32, 16, 12):
        cluster = max(sector, USUAL) if kind == 32 and size >= SMALL else sector
        while cluster <= LARGEST_CLUSTER:
            count = _count(size, sector, kind, cluster)
            if RANGES[kind][0] <= count <= RANGES[kind][1]:
                return Shape(bits=kind, cluster=cluster, clusters=count)
            cluster *= 2
    return None


def bits(count: int) -> int:
    """The kind of FAT that a number of clusters makes."""
    return 12 if count < 4085 else 16 if count < 65525 else 32


def clusters(start: bytes) -> int:
    """The number of clusters that a boot sector (512 bytes) tells of."""
    field = {name: _field(start, *place) for name, place in FIELDS.items()}
    total = field["total16"] or field["total32"]
    tables = field["tables"] * (field["table16"] or field["table32"])
    root = -(-field["root"] * ENTRY // field["sector"])
    return (total - field["reserved"] - tables - root) // field["cluster"]


FIELDS = {
    "sector": (11, 2),
    "cluster": (13, 1),
    "reserved": (14, 2),
    "tables": (16, 1),
    "root": (17, 2),
    "total16": (19, 2),
    "table16": (22, 2),
    "total32": (32, 4),
    "table32": (36, 4),
}


def smallest(measured: Measured) -> Size:
    """The least size, in steps of 4 KiB, that is enough for the tree on 512-byte or larger sectors.

    It is enough on both sizes of sectors, since the disk is not known here.
    """
    low, high = 0, 16
    while not _holds(high * STEP, measured):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if _holds(middle * STEP, measured):
            high = middle
        else:
            low = middle
    return Size(high * STEP)


def _holds(size: int, measured: Measured) -> bool:
    return all(_holds_on(sector, size, measured) for sector in (512, 4096))


def _holds_on(sector: int, size: int, measured: Measured) -> bool:
    made = shape(size, sector)
    if made is None:
        return False
    waste = max(0, made.cluster - BLOCK) * measured.files
    content = measured.expanded + waste + _listings(measured, made.cluster)
    return content <= (made.clusters - MARGIN // 2) * made.cluster


def _listings(measured: Measured, cluster: int) -> int:
    """Bytes of directories: an entry for each name, and more for a long one."""
    total = 0
    for entries, names in measured.directories:
        slots = 3 + 3 * entries + names // LONG_NAME
        total += -(-slots * ENTRY // cluster) * cluster
    return total


def _count(size: int, sector: int, kind: int, cluster: int) -> int:
    """How many clusters mkfs.vfat gets, at the least: it aligns the first one to a cluster."""
    per = cluster // sector
    sectors = size // sector
    root = -(-ROOT_ENTRIES[kind] * ENTRY // sector)
    free = sectors - RESERVED[kind] - root
    table = -(-(max(0, free) // per + 2) * kind // (8 * sector))
    aligned = -(-(RESERVED[kind] + root + 2 * (table + per)) // per) * per
    return (sectors - aligned) // per


def _field(start: bytes, offset: int, length: int) -> int:
    return int.from_bytes(start[offset : offset + length], "little")

"""Which extents of a volume group every logical volume gets, as `lvcreate` would choose them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagebuilder.disk.model import Disk, Kind, LogicalVolume, Of, Piece, Pool, VolumeGroup
from imagebuilder.errors import SpaceError
from imagebuilder.sizes import Size

CHUNK = 64 * 2**10  # the smallest chunk of a thin pool
MAPPING = 64  # bytes of metadata that LVM reckons for each chunk
LEAST_METADATA = 2 * 2**20
MOST_METADATA = 128 * 2**20  # beyond it LVM takes larger chunks
SPARE = "lvol0_pmspare"  # what LVM calls the room to repair a pool's metadata in
DATA, METADATA = "_tdata", "_tmeta"


@dataclass(frozen=True, slots=True)
class Run:
    """Extents that lie together: `count` of them on the physical volume `base`, from `start`."""

    base: str
    start: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotted:
    """A volume group, divided: what each physical volume has, and who got what of it.

    `counts` are in the group's own order. Volumes that only LVM itself sees, the parts of a pool,
    are among the `runs` too; thin volumes are not.
    """

    group: VolumeGroup
    counts: Mapping[str, int]
    runs: Mapping[str, tuple[Run, ...]]

    def size(self, name: str) -> Size:
        """The size of what `name` got."""
        return Size(sum(run.count for run in self.runs[name]) * self.group.extent)


class _Free:
    """The extents that nobody has yet."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.rest = [Run(base, 0, count) for base, count in counts.items()]

    @property
    def count(self) -> int:
        return sum(run.count for run in self.rest)

    def take(self, wanted: int) -> tuple[Run, ...]:
        """`wanted` extents, together if there is a place for them."""
        whole = [number for number, run in enumerate(self.rest) if run.count >= wanted]
        taken = []
        for number in whole[:1] or range(len(self.rest)):
            run = self.rest[number]
            count = min(wanted, run.count)
            if count:
                taken.append(Run(run.base, run.start, count))
                self.rest[number] = Run(run.base, run.start + count, run.count - count)
                wanted -= count
        return tuple(taken)


def allot(disk: Disk, group: VolumeGroup, room: Mapping[str, int]) -> Allotted:
    """Give the volumes of `group` their extents, in the document's order.

    `room` is how many bytes each of its physical volumes has. Raise SpaceError if too few.
    """
    starts = {pv.name: pv.start for pv in disk.physical_volumes}
    counts = {base: max(0, room[base] - starts[base]) // int(group.extent) for base in group.bases}
    free = _Free(counts)
    runs: dict[str, tuple[Run, ...]] = {}
    for volume in disk.volumes:
        if volume.group != group.name or volume.kind is Kind.THIN:
            continue
        wanted = _wanted(volume, group, sum(counts.values()), free.count)
        parts = _parts(volume, group, wanted, free.count, spare=SPARE not in runs)
        if sum(parts.values()) > free.count or not wanted:
            left = Size(free.count * group.extent)
            size = Size(sum(parts.values()) * group.extent)
            raise SpaceError(
                f"no room for logical volume {volume.name!r} of {size}: {left} left",
                where=f"volume group {group.name}",
            )
        runs |= {name: free.take(count) for name, count in parts.items()}
    return Allotted(group=group, counts=counts, runs=runs)


def virtual_size(volume: LogicalVolume, group: VolumeGroup) -> Size:
    """The size that a thin volume shows to the machine."""
    if volume.extents is not None:
        return Size(volume.extents * group.extent)
    assert volume.size is not None
    return volume.size.up_to(group.extent)


def pieces(disk: Disk, made: Allotted, name: str, offsets: Mapping[str, int]) -> Iterator[Piece]:
    """Where the extents of `name` lie in the file; `offsets` are those of the physical volumes."""
    starts = {pv.name: pv.start for pv in disk.physical_volumes}
    extent = made.group.extent
    for run in made.runs[name]:
        offset = offsets[run.base] + starts[run.base] + run.start * extent
        yield Piece(Size(offset), Size(run.count * extent))


def pools(disk: Disk, made: Allotted, offsets: Mapping[str, int]) -> tuple[Pool, ...]:
    """The thin pools of a group, with the volumes in them."""
    return tuple(
        Pool(
            name=pool.name,
            chunk=chunk(pool, made.size(pool.name + DATA)),
            data=tuple(pieces(disk, made, pool.name + DATA, offsets)),
            metadata=tuple(pieces(disk, made, pool.name + METADATA, offsets)),
            volumes=tuple(
                (volume.name, virtual_size(volume, made.group)) for volume in thin(disk, pool)
            ),
        )
        for pool in disk.volumes
        if pool.kind is Kind.THIN_POOL and pool.group == made.group.name
    )


def thin(disk: Disk, pool: LogicalVolume) -> Sequence[LogicalVolume]:
    """The thin volumes in a pool; their ids in it count from 1 in this order."""
    return [volume for volume in disk.volumes if volume.pool == pool.name]


def chunk(pool: LogicalVolume, size: int) -> Size:
    """The bytes in which a pool of `size` hands out room."""
    if pool.chunk is not None:
        return pool.chunk
    chosen = CHUNK
    while size // chosen * MAPPING > MOST_METADATA:
        chosen *= 2
    return Size(chosen)


def _wanted(volume: LogicalVolume, group: VolumeGroup, total: int, free: int) -> int:
    if volume.size is not None:
        return int(volume.size.up_to(group.extent) // group.extent)
    if volume.extents is not None:
        return volume.extents
    assert volume.percent is not None
    return int((free if volume.of is Of.FREE else total) * volume.percent / 100)


def _parts(
    volume: LogicalVolume, group: VolumeGroup, wanted: int, free: int, *, spare: bool
) -> dict[str, int]:
    """The volume as LVM makes it: a pool is data and metadata, and the first brings a spare."""
    if volume.kind is not Kind.THIN_POOL:
        return {volume.name: wanted}
    metadata = _metadata(volume, group, wanted)
    if volume.percent is not None:  # a share of what there is leaves room for the rest of it
        wanted = max(0, min(wanted, free - metadata * (1 + spare)))
    parts = {volume.name + DATA: wanted, volume.name + METADATA: metadata}
    return parts | ({SPARE: metadata} if spare else {})


def _metadata(pool: LogicalVolume, group: VolumeGroup, extents: int) -> int:
    size = extents * group.extent
    least = max(LEAST_METADATA, size // chunk(pool, size) * MAPPING)
    return int(Size(least).up_to(group.extent) // group.extent)

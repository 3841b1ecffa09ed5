"""Where every byte of a disk goes, and how large the disk has to be for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import NAMESPACE_DNS, UUID, uuid5

from imagebuilder.disk import gpt, mbr
from imagebuilder.disk.model import (
    Device,
    Disk,
    Layout,
    Partition,
    Partitioning,
    Slot,
    Table,
)
from imagebuilder.disk.regions import grows, lacking, regions
from imagebuilder.errors import ConfigError, SpaceError
from imagebuilder.sizes import Size

NAMESPACE = uuid5(NAMESPACE_DNS, "imagebuilder")
STEP = 64 * 2**10  # image sizes are multiples of this, as diskimage-builder's are
GRAIN = 4096  # what a percentage is rounded down to: the blocks of most filesystems
FULL = 0.6  # how full diskimage-builder lets a filesystem be whose size nobody gave
LARGEST = 2**56


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What has to fit: `needed` bytes for each filesystem's name, and what was asked for on top.

    `tree` is what `du -x` says of the whole root tree; `explicit` is the image's exact size;
    `extra` is added to the tree instead of room to breathe; `journal` is the root's own.
    """

    needed: Mapping[str, Size] = field(default_factory=dict)
    tree: int = 0
    explicit: Size | None = None
    extra: Size | None = None
    journal: int = 0


def layout(disk: Disk, device: Device, size: Size, needed: Mapping[str, Size]) -> Layout:
    """Place everything on `device`; raise SpaceError naming what does not fit, and what would."""
    if size % device.sector:
        raise ConfigError(
            f"{int(size)} bytes are not a whole number of {device.sector}-byte sectors",
            where=device.name,
            hint=f"make it {int(size.up_to(device.sector))} bytes",
        )
    _check_fixed(disk, device, needed)
    if not _fits(disk, device, size, needed):
        raise _too_small(disk, device, size, needed)
    table = disk.table_of(device)
    slots = place(table, device, size) if table else ()
    found = regions(disk, device, size, slots)
    return Layout(
        device=device,
        size=size,
        table=table.label if table else None,
        pieces=(*(_pieces(table, device, size, slots) if table else ()), *found.pieces),
        slots=slots,
        placed=found.placed,
        pools=found.pools,
        embedding=_embedding(table, device, slots) if table else None,
    )


def check(disk: Disk, explicit: Size | None) -> None:
    """Refuse what no content could be put on: ConfigError or SpaceError, before anything is made.

    `explicit` is the size that disks without one of their own are to have.
    """
    for device in disk.devices:
        exact = device.size or explicit
        if exact is None:
            smallest(disk, device, {})
        else:
            layout(disk, device, exact, {})


def image_size(disk: Disk, device: Device, demand: Demand) -> Size:
    """How large `device` becomes: as asked for, exactly, or what its content makes of it.

    Where nobody asked, the root filesystem gets diskimage-builder's size (what `du` says / 0.6,
    or + extra; + journal) and what else is on the disk comes on top. Raise SpaceError, with a
    size that would do, if an explicit one is too small.
    """
    exact = device.size or demand.explicit
    if exact is not None:
        layout(disk, device, exact, demand.needed)
        return exact
    return smallest(disk, device, _roomy(disk, device, demand))


def smallest(disk: Disk, device: Device, needed: Mapping[str, Size]) -> Size:
    """The smallest multiple of 64 KiB at which everything fits on `device`."""
    _check_fixed(disk, device, needed)
    low, high = 0, 1
    while not _fits(disk, device, Size(high * STEP), needed):
        low, high = high, high * 2
        if high * STEP > LARGEST:
            culprit = _culprit(disk, device, Size(low * STEP), needed)
            raise SpaceError(f"no room, however large it is: {culprit}", where=device.name)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(disk, device, Size(middle * STEP), needed):
            high = middle
        else:
            low = middle
    return Size(high * STEP)


def place(table: Partitioning, device: Device, size: Size) -> tuple[Slot, ...]:
    """The partitions of `table` on a disk of `size`, in the order they lie there."""
    _check_table(table)
    first, end = device.sector, int(size)
    if table.label is Table.GPT:
        first, end = gpt.usable(size, device.sector)
    slots: list[Slot] = []
    numbers = _numbers(table)
    for part, number in zip(table.partitions, numbers, strict=True):
        start = Size(first).up_to(table.align)
        if table.label is Table.MBR and not part.primary:
            start = Size(start + table.align)  # its own table (EBR) lies before it
        room = _room(part, Size(max(0, end - start)), device.sector)
        if room > end - start or not room:
            raise SpaceError(
                f"no room for partition {part.name!r} of {room}: {Size(max(0, end - start))} left",
                where=device.name,
            )
        slots.append(_slot(table, device, part, number, (start, room)))
        first = start + room
    return tuple(slots)


def _room(part: Partition, free: Size, sector: int) -> Size:
    if part.percent is not None:
        return Size(int(free * part.percent / 100) // GRAIN * GRAIN)
    assert part.size is not None
    return part.size.up_to(sector)


def _slot(
    table: Partitioning, device: Device, part: Partition, number: int, place: tuple[Size, Size]
) -> Slot:
    default = "8300" if table.label is Table.GPT else "83"
    return Slot(
        name=part.name,
        number=number,
        offset=place[0],
        size=place[1],
        type=part.type or default,
        uuid=uuid5(_identity(device), part.name) if table.label is Table.GPT else None,
        boot=part.boot,
    )


def _numbers(table: Partitioning) -> list[int]:
    """Entries in the table: the ones asked for, and for the others the lowest ones left."""
    asked = {part.number for part in table.partitions if part.number}
    low = iter(number for number in range(1, gpt.ENTRIES + 1) if number not in asked)
    high = iter(range(mbr.FIRST_LOGICAL, gpt.ENTRIES + 1))
    logical = table.label is Table.MBR
    return [
        next(high) if logical and not part.primary else part.number or next(low)
        for part in table.partitions
    ]


def _check_table(table: Partitioning) -> None:
    """Refuse what the kind of table cannot hold."""
    asked = [part.number for part in table.partitions if part.number]
    twice = {number for number in asked if asked.count(number) > 1}
    if twice:
        raise ConfigError(f"partition number {min(twice)} is used twice", where=table.name)
    if table.label is Table.GPT:
        if len(table.partitions) > gpt.ENTRIES:
            raise ConfigError(f"more than {gpt.ENTRIES} partitions", where=table.name)
        return
    primaries = [part.primary for part in table.partitions]
    if primaries != sorted(primaries, reverse=True):
        raise ConfigError("All primary partitions must be given first", where=table.name)
    if sum(primaries) > (4 if all(primaries) else 3):
        raise ConfigError(
            "more primary partitions than an MBR holds", where=table.name, hint="use label: gpt"
        )
    if any(part.number and (part.number > 4 or not part.primary) for part in table.partitions):
        raise ConfigError(
            "on an MBR only a primary partition can have a number, from 1 to 4", where=table.name
        )


def _pieces(
    table: Partitioning, device: Device, size: Size, slots: tuple[Slot, ...]
) -> tuple[tuple[int, bytes], ...]:
    identity = _identity(device)
    if table.label is Table.GPT:
        return gpt.pieces(size, device.sector, identity, slots)
    signature = identity.int & 0xFFFFFFFF or 1
    if size // device.sector > 2**32:
        raise ConfigError("too large for an MBR", where=device.name, hint="use label: gpt")
    return mbr.pieces(size, device.sector, table.align, signature, slots)


def _embedding(
    table: Partitioning, device: Device, slots: Iterable[Slot]
) -> tuple[int, int] | None:
    """Where a BIOS boot loader's core fits: after an MBR, or in GPT's BIOS boot partition."""
    if table.label is Table.MBR:
        first = min(slot.offset for slot in slots) // device.sector
        ebr = any(slot.number >= mbr.FIRST_LOGICAL for slot in slots) and not any(
            slot.number < mbr.FIRST_LOGICAL for slot in slots
        )
        return (1, first - (table.align // device.sector if ebr else 0) - 1)
    for slot in slots:
        if gpt.is_bios_boot(slot.type):
            return (slot.offset // device.sector, slot.size // device.sector)
    return None


def _identity(device: Device) -> UUID:
    return device.uuid or uuid5(NAMESPACE, device.name)


def _fits(disk: Disk, device: Device, size: Size, needed: Mapping[str, Size]) -> bool:
    return not _culprit(disk, device, size, needed)


def _check_fixed(disk: Disk, device: Device, needed: Mapping[str, Size]) -> None:
    """Refuse a filesystem whose own partition is too small, however large the disk is."""
    _check_volumes(disk, needed)
    table = disk.table_of(device)
    for part in table.partitions if table else ():
        filesystem = disk.filesystem_on(part.name)
        least = Size(needed.get(filesystem.name, 0) if filesystem else 0)
        if filesystem and part.size is not None and part.size < least:
            raise SpaceError(
                f"partition {part.name!r} has {part.size}, but its {filesystem.type} filesystem"
                f" needs {least}",
                where=device.name,
                hint=f"give the partition a size of at least {_exactly(least.up_to(2**20))}",
            )


def _check_volumes(disk: Disk, needed: Mapping[str, Size]) -> None:
    """Refuse a filesystem whose own logical volume is too small, however large the disk is."""
    extents = {group.name: group.extent for group in disk.groups}
    for volume in disk.volumes:
        filesystem = disk.filesystem_on(volume.name)
        least = Size(needed.get(filesystem.name, 0) if filesystem else 0)
        count = Size((volume.extents or 0) * extents[volume.group])
        size = count if volume.size is None else volume.size.up_to(extents[volume.group])
        if filesystem and size and size < least:
            raise SpaceError(
                f"logical volume {volume.name!r} has {size}, but its {filesystem.type} filesystem"
                f" needs {least}",
                where=f"volume group {volume.group}",
                hint=f"give it a size of at least {_exactly(least.up_to(4 * 2**20))}",
            )


def _too_small(disk: Disk, device: Device, size: Size, needed: Mapping[str, Size]) -> SpaceError:
    least = smallest(disk, device, needed)
    return SpaceError(
        f"{size} is too small ({_culprit(disk, device, size, needed)}): at least {_exactly(least)}",
        where=device.name,
    )


def _culprit(disk: Disk, device: Device, size: Size, needed: Mapping[str, Size]) -> str:
    """What does not fit on a device of `size`, in words; empty if everything does."""
    table = disk.table_of(device)
    try:
        slots = place(table, device, size) if table else ()
        return lacking(regions(disk, device, size, slots), needed)
    except SpaceError as error:
        return error.what


def _roomy(disk: Disk, device: Device, demand: Demand) -> Mapping[str, Size]:
    """The needs, with the root filesystem's raised to diskimage-builder's size."""
    root = disk.root
    if not grows(disk, device, root.base):
        return demand.needed
    roomy = demand.tree / FULL if demand.extra is None else demand.tree + demand.extra
    room = Size(max(int(roomy) + demand.journal, demand.needed.get(root.name, 0))).up_to(STEP)
    return {**demand.needed, root.name: room}


def _exactly(size: Size) -> str:
    """A size that, typed in, is enough: printing rounds, so print what does not."""
    for unit, count in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size % count == 0:
            return f"{size // count} {unit}"
    return f"{int(size)} B"

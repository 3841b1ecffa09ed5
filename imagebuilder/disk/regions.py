"""Where filesystems lie on a device whose partitions have their places: directly, or by LVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagebuilder.disk import lvm, volumes
from imagebuilder.disk.model import Device, Disk, Kind, LogicalVolume, Placed, Pool, Slot
from imagebuilder.disk.volumes import Allotted
from imagebuilder.sizes import Size

Places = Mapping[str, tuple[Size, Size]]  # offset and size of what has a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Filesystems and thin pools in their places, and the bytes that LVM needs around them."""

    placed: tuple[Placed, ...]
    pools: tuple[Pool, ...] = ()
    pieces: tuple[tuple[int, bytes], ...] = ()


def regions(disk: Disk, device: Device, size: Size, slots: Sequence[Slot]) -> Regions:
    """Everything on `device`; raise SpaceError where a volume group is too small."""
    places = {slot.name: (slot.offset, slot.size) for slot in slots}
    places = places or {device.name: (Size(0), size)}
    placed = list(_direct(disk, device, places))
    pools: list[Pool] = []
    pieces: list[tuple[int, bytes]] = []
    for made, own in _groups(disk, places):
        offsets = {name: offset for name, (offset, _) in own.items()}
        placed += _in_volumes(disk, device, made, offsets)
        pools += volumes.pools(disk, made, offsets)
        pieces += lvm.pieces(disk, made, own)
    return Regions(placed=tuple(placed), pools=tuple(pools), pieces=tuple(pieces))


def lacking(found: Regions, needed: Mapping[str, Size]) -> str:
    """What is too small, in words; empty if everything fits."""
    for each in found.placed:
        name = each.filesystem.name
        if each.size < needed.get(name, 1):
            return f"{name} gets {each.size} and needs {needed.get(name, Size(1))}"
    for pool in found.pools:
        room = Size(sum(piece.size for piece in pool.data))
        inside = [p.filesystem.name for p in found.placed if p.pool == pool.name]
        wanted = Size(sum(needed.get(name, 0) for name in inside))
        if room < wanted:
            return f"the thin pool {pool.name} gets {room} and needs {wanted}"
    return ""


def _direct(disk: Disk, device: Device, places: Places) -> Iterator[Placed]:
    for base, (offset, room) in places.items():
        filesystem = disk.filesystem_on(base)
        if filesystem:
            yield Placed(filesystem=filesystem, offset=offset, size=room, sector=device.sector)


def _groups(disk: Disk, places: Places) -> Iterator[tuple[Allotted, Places]]:
    """The volume groups on this device, each with the places of its physical volumes."""
    known = {pv.name: places[pv.base] for pv in disk.physical_volumes if pv.base in places}
    for group in disk.groups:
        own = {name: known[name] for name in group.bases if name in known}
        if own:
            room = {name: int(size) for name, (_, size) in own.items()}
            yield volumes.allot(disk, group, room), own


def _in_volumes(
    disk: Disk, device: Device, made: Allotted, offsets: Mapping[str, int]
) -> Iterator[Placed]:
    for volume in disk.volumes:
        filesystem = disk.filesystem_on(volume.name)
        if filesystem is None or volume.group != made.group.name:
            continue
        if volume.kind is Kind.THIN:
            size = volumes.virtual_size(volume, made.group)
            yield Placed(
                filesystem=filesystem,
                offset=Size(0),
                size=size,
                sector=device.sector,
                pool=volume.pool,
            )
            continue
        pieces = tuple(volumes.pieces(disk, made, volume.name, offsets))
        yield Placed(
            filesystem=filesystem,
            offset=pieces[0].offset if len(pieces) == 1 else Size(0),
            size=made.size(volume.name),
            sector=device.sector,
            pieces=pieces if len(pieces) > 1 else (),
        )


def grows(disk: Disk, device: Device, base: str) -> bool:
    """Whether a larger `device` makes what is called `base` larger."""
    volume = disk.volume(base)
    if volume is not None:
        return _volume_grows(disk, device, volume)
    table = disk.table_of(device)
    if table is None:
        return base == device.name
    return any(part.name == base and part.percent is not None for part in table.partitions)


def _volume_grows(disk: Disk, device: Device, volume: LogicalVolume) -> bool:
    group = next(group for group in disk.groups if group.name == volume.group)
    bases = [pv.base for pv in disk.physical_volumes if pv.name in group.bases]
    return volume.percent is not None and any(grows(disk, device, base) for base in bases)

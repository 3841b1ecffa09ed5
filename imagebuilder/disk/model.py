"""Disks as frozen values: what was asked for (`Disk`), and where it will lie (`Layout`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from imagebuilder.sizes import Size


class Table(Enum):
    MBR = "mbr"
    GPT = "gpt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A disk image file (`local_loop`): `size` is None where it follows from the content."""

    name: str
    size: Size | None = None
    sector: int = 512
    uuid: UUID | None = None  # what table and partition ids are derived from; None: from `name`


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition as asked for: `size` absolute, or `percent` of what is free at that point."""

    name: str
    base: str
    size: Size | None = None
    percent: float | None = None
    type: str = ""  # MBR: hexadecimal byte; GPT: sgdisk code or GUID
    boot: bool = False
    primary: bool = False
    number: int | None = None  # entry in the table, where it is not the order on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitioning:
    name: str
    base: str
    label: Table
    align: Size
    partitions: tuple[Partition, ...]


class Kind(Enum):
    """What a logical volume is to LVM."""

    LINEAR = "linear"
    THIN_POOL = "thin-pool"
    THIN = "thin"


class Of(Enum):
    """What a percentage of extents is a percentage of, as `lvcreate --extents` spells it."""

    GROUP = "VG"
    FREE = "FREE"
    PHYSICAL = "PVS"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalVolume:
    """A partition or device that LVM divides; the first extent lies `start` bytes into it."""

    name: str
    base: str
    start: Size
    uuid: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGroup:
    """Physical volumes as one store of extents of `extent` bytes."""

    name: str
    bases: tuple[str, ...]
    extent: Size
    uuid: UUID
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume:
    """A volume as asked for: by `size`, by a number of `extents`, or by a `percent` `of` something.

    A thin one lies in the thin pool called `pool`, and a pool is divided in chunks of `chunk`
    bytes (None: as large as LVM would make them).
    """

    name: str
    group: str
    uuid: UUID
    size: Size | None = None
    extents: int | None = None
    percent: float | None = None
    of: Of = Of.GROUP
    kind: Kind = Kind.LINEAR
    pool: str = ""
    chunk: Size | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """A filesystem as asked for, on the device, partition or logical volume called `base`."""

    name: str
    base: str
    type: str
    label: str
    uuid: UUID
    options: tuple[str, ...] = ()
    mount_point: str = ""  # empty: not mounted; "none" for swap
    mount_options: str = "defaults"
    dump: int = 0
    passno: int = 2
    in_fstab: bool = False

    @property
    def shown_uuid(self) -> str:
        """The UUID as blkid and GRUB show it; vfat has only 32 bits of it."""
        if self.type != "vfat":
            return str(self.uuid)
        serial = f"{self.uuid.int % 2**32:08X}"
        return f"{serial[:4]}-{serial[4:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Everything a block-device document asks for."""

    devices: tuple[Device, ...]
    partitionings: tuple[Partitioning, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    physical_volumes: tuple[PhysicalVolume, ...] = ()
    groups: tuple[VolumeGroup, ...] = ()
    volumes: tuple[LogicalVolume, ...] = ()

    @property
    def mounted(self) -> tuple[Filesystem, ...]:
        """The filesystems with a mount point, outermost first."""
        points = [fs for fs in self.filesystems if fs.mount_point.startswith("/")]
        return tuple(sorted(points, key=lambda fs: fs.mount_point))

    @property
    def root(self) -> Filesystem:
        """The filesystem mounted at `/`."""
        return self.mounted[0]

    @property
    def mount_points(self) -> tuple[str, ...]:
        """Every mount point in the document's order; of swap it is `none`."""
        return tuple(fs.mount_point for fs in self.filesystems if fs.mount_point)

    def table_of(self, device: Device) -> Partitioning | None:
        """The partition table on `device`, if it has one."""
        return next((table for table in self.partitionings if table.base == device.name), None)

    def filesystem_on(self, base: str) -> Filesystem | None:
        """The filesystem on the device, partition or volume called `base`, if it has one."""
        return next((fs for fs in self.filesystems if fs.base == base), None)

    def volume(self, name: str) -> LogicalVolume | None:
        """The logical volume called `name`, if there is one."""
        return next((volume for volume in self.volumes if volume.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where one partition lies: `number` in the table, `offset` and `size` in bytes."""

    name: str
    number: int
    offset: Size
    size: Size
    type: str
    uuid: UUID | None = None
    boot: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file that lie together."""

    offset: Size
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A filesystem and where it lies in its device's file.

    One that lies in several pieces, or in a thin pool, has no one place: it is made in a file
    of its own, at `offset` 0, and brought to its `pieces` or into the `pool` then.
    """

    filesystem: Filesystem
    offset: Size
    size: Size
    sector: int = 512
    pieces: tuple[Piece, ...] = ()
    pool: str = ""

    @property
    def apart(self) -> bool:
        """Whether it has to be made in a file of its own."""
        return bool(self.pieces or self.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A thin pool on the disk: where its data and its metadata lie, and whom it is shared by.

    `volumes` are the names of the thin volumes with their sizes, in the order of their ids.
    """

    name: str
    chunk: Size
    data: tuple[Piece, ...]
    metadata: tuple[Piece, ...]
    volumes: tuple[tuple[str, Size], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One device's file, byte by byte: table pieces to write, and what lies where."""

    device: Device
    size: Size
    table: Table | None = None
    pieces: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) of partition tables
    slots: tuple[Slot, ...] = ()
    placed: tuple[Placed, ...] = ()
    pools: tuple[Pool, ...] = ()
    embedding: tuple[int, int] | None = None  # (first LBA, sectors) where a BIOS loader fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the command line says about filesystems and devices that a document leaves open."""

    image: str
    root_type: str = "ext4"
    root_label: str = ""
    root_options: tuple[str, ...] = field(default=())
    sector: int | None = None

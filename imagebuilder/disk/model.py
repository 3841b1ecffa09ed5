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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """A filesystem as asked for, on the device or partition called `base`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Everything a block-device document asks for."""

    devices: tuple[Device, ...]
    partitionings: tuple[Partitioning, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()

    @property
    def mounted(self) -> tuple[Filesystem, ...]:
        """The filesystems with a mount point, outermost first."""
        points = [fs for fs in self.filesystems if fs.mount_point.startswith("/")]
        return tuple(sorted(points, key=lambda fs: fs.mount_point))

    @property
    def root(self) -> Filesystem:
        """The filesystem mounted at `/`."""
        return self.mounted[0]

    def table_of(self, device: Device) -> Partitioning | None:
        """The partition table on `device`, if it has one."""
        return next((table for table in self.partitionings if table.base == device.name), None)

    def filesystem_on(self, base: str) -> Filesystem | None:
        """The filesystem on the device or partition called `base`, if it has one."""
        return next((fs for fs in self.filesystems if fs.base == base), None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A filesystem and where it lies in its device's file."""

    filesystem: Filesystem
    offset: Size
    size: Size
    sector: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One device's file, byte by byte: table pieces to write, and what lies where."""

    device: Device
    size: Size
    table: Table | None = None
    pieces: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) of partition tables
    slots: tuple[Slot, ...] = ()
    placed: tuple[Placed, ...] = ()
    embedding: tuple[int, int] | None = None  # (first LBA, sectors) where a BIOS loader fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the command line says about filesystems and devices that a document leaves open."""

    image: str
    root_type: str = "ext4"
    root_label: str = ""
    root_options: tuple[str, ...] = field(default=())
    sector: int | None = None

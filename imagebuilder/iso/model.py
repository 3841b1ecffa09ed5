"""What an ISO image is and holds, as frozen values."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SECTOR = 2048
BLOCK = 512


class Platform(Enum):
    """Who starts a boot image; the values are El Torito's platform numbers."""

    BIOS = 0
    PPC = 1
    MAC = 2
    UEFI = 0xEF


@dataclass(frozen=True, slots=True, kw_only=True)
class BootImage:
    """One entry of the El Torito catalog; `size` in bytes, `emulation` as El Torito counts."""

    platform: Platform | None
    emulation: int
    sector: int
    size: int
    bootable: bool = True

    @property
    def start(self) -> int:
        """Its first byte."""
        return self.sector * SECTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One entry of a partition table; `start` and `count` in blocks of 512 bytes."""

    table: str  # "MBR" or "GPT"
    number: int
    type: str
    start: int
    count: int
    name: str = ""
    active: bool = False

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return (self.start + self.count) * BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The texts and the root of the primary volume descriptor."""

    id: str
    system: str
    publisher: str
    preparer: str
    application: str
    created: str  # YYYYMMDDhhmmsscc
    modified: str
    blocks: int
    root: int  # sector
    root_size: int
    application_use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Iso:
    """An image and how it starts. `joliet` is the sector of Joliet's root, if there is one."""

    path: Path
    size: int
    volume: Volume
    rock_ridge: bool
    joliet: tuple[int, int] | None
    images: tuple[BootImage, ...]
    partitions: tuple[Partition, ...]
    mbr: str  # what its first sector can start: "isolinux", "GRUB", "unknown code" or nothing
    apple: bool
    end: int  # the byte behind the last that anything names
    grown: bool
    catalog: int = 0  # the sector of the El Torito boot catalog; 0 without one

    @property
    def bootable(self) -> bool:
        """Whether anything can start it."""
        return bool(self.images or self.mbr)

    @property
    def cut(self) -> int:
        """How many bytes of padding are missing at its end."""
        return max(0, self.end - self.size)

    @property
    def uefi(self) -> BootImage | None:
        """The image that UEFI starts."""
        return next((image for image in self.images if image.platform is Platform.UEFI), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One file of any type; `extents` are its places, in bytes: where, and how many."""

    path: str  # without a slash in front; the root is empty
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    links: int = 1
    target: str = ""
    rdev: tuple[int, int] = (0, 0)
    extents: tuple[tuple[int, int], ...] = ()
    packed: bool = False  # zisofs

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

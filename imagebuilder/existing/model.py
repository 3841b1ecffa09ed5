"""What is found on a disk, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from imagebuilder.disk.model import Table
from imagebuilder.sizes import Size

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
XBOOTLDR = "BC13C2FF-59E6-4262-A352-B275FD6F7172"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What an area begins with: a filesystem (or `swap`, `lvm`, `luks`), its label and UUID."""

    type: str
    label: str = ""
    uuid: str = ""  # as blkid(8) spells it


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A partition, or (number 0) a whole disk that has no partition table."""

    number: int
    offset: Size
    size: Size
    type: str = ""  # GPT: a GUID in capital letters; MBR: two hexadecimal digits
    uuid: str = ""  # PARTUUID, as blkid(8) spells it
    name: str = ""  # PARTLABEL
    content: Signature | None = None

    @property
    def device(self) -> str:
        """What its block device is called in IMAGE_BLOCK_DEVICES."""
        return f"part{self.number}" if self.number else "image0"

    def __str__(self) -> str:
        return f"partition {self.number}" if self.number else "the disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A disk: its partition table, and the areas in the order of their numbers."""

    size: Size
    table: Table | None
    sector: int
    areas: tuple[Area, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounting:
    """A filesystem, and where it belongs in the tree; of btrfs a `subvolume`, or its default."""

    area: Area
    point: str
    subvolume: str = ""

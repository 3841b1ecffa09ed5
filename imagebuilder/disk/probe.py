"""What GRUB's own programs would find on a disk that is not there yet, as lines for stand-ins.

Each line is about a filesystem that will be mounted:

    MOUNT POINT|GRUB'S NAME OF ITS TYPE|UUID|ABSTRACTION|PARTITION TABLE|LABEL
"""

from __future__ import annotations

from imagebuilder.disk.model import Disk

GRUB_NAMES = {"ext3": "ext2", "ext4": "ext2", "vfat": "fat"}


def row(point: str, kind: str, uuid: str, rest: tuple[str, str, str]) -> str:
    """One line; `rest` is the abstraction (`lvm`, if any), the partition table and the label."""
    return "|".join((point, GRUB_NAMES.get(kind, kind), uuid, *rest))


def rows(disk: Disk, table: str) -> str:
    """The lines of a disk; `table` is GRUB's name of its partition table."""
    return "\n".join(
        row(fs.mount_point, fs.type, fs.shown_uuid, (_below(disk, fs.base), table, fs.label))
        for fs in disk.mounted
    )


def _below(disk: Disk, base: str) -> str:
    return "lvm" if disk.volume(base) else ""

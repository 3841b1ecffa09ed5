"""Makes a disk larger, and its last partition and the filesystem in it as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from imagebuilder.disk.model import Table
from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.existing import table
from imagebuilder.existing.attach import Opened
from imagebuilder.existing.model import Area, Contents
from imagebuilder.process import Command, Runner
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.loops import Part
from imagebuilder.sizes import Size

RESIZE: Mapping[str, tuple[str, ...]] = {
    "xfs": ("xfs_growfs", "{point}"),
    "btrfs": ("btrfs", "filesystem", "resize", "max", "{point}"),
}  # while it is mounted
EXT = (
    "ext2",
    "ext3",
    "ext4",
)  # before: mounted, it takes a privilege that root in a container lacks
CORRECTED = 1  # e2fsck(8)
OPTION = "--image-size"


def enlarge(raw: Path, size: Size, run: Runner) -> int | None:
    """Make the disk in `raw` so large, and its last partition with it; the partition's number.

    None if it has that size already. Numbers and UUIDs of partitions stay (`sfdisk(8)`).
    """
    before = table.load(raw)
    if size <= before.size:
        return None
    last = max(before.areas, key=lambda area: area.offset)
    _check(last, before)
    os.truncate(raw, size)
    if last.number:
        words = ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", str(last.number))
        run(Command((*words, os.fspath(raw)), stdin=b", +\n"))
    if last.content and last.content.type in EXT:
        with loops.attached(Part(file=raw, offset=last.offset)) as device:
            _resize(device, _end(raw, last), run)
    return last.number


def fill(disk: Opened, number: int, run: Runner) -> None:
    """Make the mounted filesystem of partition `number` as large as that."""
    for mounting, point in disk.mounted:
        kind = mounting.area.content.type if mounting.area.content else ""
        if mounting.area.number == number and kind in RESIZE:
            run(command(kind, disk.devices[mounting.area], point))
            return


def command(kind: str, device: Path, point: Path) -> Command:
    """The command that makes a mounted filesystem as large as its device."""
    words = RESIZE[kind]
    return Command(tuple(word.format(device=device, point=point) for word in words))


def _resize(device: Path, size: Size, run: Runner) -> None:
    """Make an ext filesystem at the beginning of the device `size` bytes large."""
    try:
        run(Command(("e2fsck", "-f", "-p", str(device))))
    except CommandError as error:
        if not error.what.startswith(f"exit status {CORRECTED}\n"):
            raise
    run(Command(("resize2fs", str(device), f"{size // 1024}K")))


def _end(raw: Path, last: Area) -> Size:
    """How large the area has become."""
    found = table.load(raw).areas
    return next(area.size for area in found if area.number == last.number)


def _check(last: Area, disk: Contents) -> None:
    kind = last.content.type if last.content else "unknown"
    if kind not in (*EXT, *RESIZE):
        raise ConfigError(
            f"{last} lies at the end and is {kind}, which cannot grow",
            where=OPTION,
            hint="leave the size as it is; on the machine, growroot and cloud-init do better",
        )
    logical = disk.table is Table.MBR and last.number >= table.FIRST_LOGICAL
    if logical or disk.sector != table.SECTORS[0]:
        raise ConfigError(f"{last} of this partition table cannot grow", where=OPTION)

"""The command of xorriso that makes a new ISO image which starts as a CD and as a disk.

GRUB is in the first sector and in the El Torito catalog, the EFI system partition is behind the
volume and in both tables of partitions: the layout of Ubuntu's installers since 22.04.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.process import Command

BIOS = "boot/grub/i386-pc/eltorito.img"
CATALOG = "boot.catalog"
ESP_TYPE = "28732ac11ff8d211ba4b00a0c93ec93b"  # C12A7328-F81F-11D2-BA4B-00A0C93EC93B
VOLUME_TYPE = "a2a0d0ebe5b9334487c068b6b72699c7"  # EBD0A0A2-B9E5-4433-87C0-68B6B72699C7


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """The files of a CD, and what starts it: GRUB's first sector, an EFI system partition."""

    tree: Path
    volume_id: str
    mbr: Path | None = None  # with it, BIOS is in the tree
    esp: Path | None = None


def make(medium: Medium, epoch: int) -> Command:
    """The command that writes the image to its standard output, dated as the tree is."""
    argv = (
        "xorriso", "-as", "mkisofs", "-quiet",
        "-r", "-J", "-joliet-long", "-iso-level", "3",
        "-V", medium.volume_id,
        "-preparer", "imagebuilder",
        "-partition_offset", "16",
        *_bios(medium),
        *_uefi(medium),
        "-o", "-",
        os.fspath(medium.tree),
    )  # fmt: skip
    return Command(argv, env={"SOURCE_DATE_EPOCH": str(epoch), "HOME": "/nonexistent"})


def _bios(medium: Medium) -> Iterator[str]:
    if medium.mbr:
        yield from ("--grub2-mbr", os.fspath(medium.mbr))
        yield from ("--protective-msdos-label", "-partition_cyl_align", "off")
        yield from ("--mbr-force-bootable", "-c", f"/{CATALOG}", "-b", f"/{BIOS}")
        yield from ("-no-emul-boot", "-boot-load-size", "4", "-boot-info-table")
        yield "--grub2-boot-info"


def _uefi(medium: Medium) -> Iterator[str]:
    if medium.esp:
        yield from ("-append_partition", "2", ESP_TYPE, os.fspath(medium.esp))
        yield from ("-appended_part_as_gpt", "-iso_mbr_part_type", VOLUME_TYPE)
        yield from ("-eltorito-alt-boot",) if medium.mbr else ("-c", f"/{CATALOG}")
        yield from ("-e", "--interval:appended_partition_2:all::", "-no-emul-boot")

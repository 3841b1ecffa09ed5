"""GRUB for BIOS and UEFI, from the root tree's own packages and without grub-install.

grub-install wants mounted block devices. What it does beyond asking them is little: copy GRUB's
modules to where GRUB reads them from, and make an image that finds that place by its
filesystem's UUID. Nothing here looks at a device.
"""

from __future__ import annotations

from pathlib import Path

from imagebuilder import paths
from imagebuilder.boot import grub_efi, grub_home
from imagebuilder.boot.grub_bios import SECTOR
from imagebuilder.boot.grub_home import GRUB2, LIBRARY, Home, Image, Names
from imagebuilder.boot.model import EMPTY, BootBlocks
from imagebuilder.disk import gpt
from imagebuilder.disk.model import Disk
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.process import Runner

BIOS = "i386-pc"
BIOS_PACKAGE = "grub-pc-bin"
BIOS_PACKAGE2 = "grub2-pc-modules"


def install(tree: Path, disk: Disk, inside: Runner, *, table: str) -> BootBlocks:
    """Install every GRUB that the tree has and the disk has a place for; give its boot blocks.

    `table` is GRUB's name for the kind of partition table: `msdos`, `gpt` or `none`. Raise
    ConfigError if no GRUB can be installed, and BuildError if none would find a menu.
    """
    names = grub_home.names_in(tree)
    if not paths.exists_in(tree, names.menu):
        raise BuildError(
            f"there is no {names.menu}",
            where="boot loader",
            hint="a finalise.d hook has to make it, as the one of the element bootloader does",
        )
    home = grub_home.find_home(disk, names)
    bios, efi = takes_bios(disk, table), grub_efi.has_esp(disk)
    blocks = _blocks(tree, home, inside) if bios else EMPTY
    installed = efi and grub_efi.install(tree, home, inside)
    if blocks == EMPTY and not installed:
        raise _unbootable(names, bios=bios, efi=efi)
    return blocks


def takes_bios(disk: Disk, table: str) -> bool:
    """Whether a disk with this kind of partition table has a place for BIOS boot blocks."""
    if any(device.sector != SECTOR for device in disk.devices):
        return False
    parts = [part for table in disk.partitionings for part in table.partitions]
    return table == "msdos" or (
        table == "gpt" and any(part.type and gpt.is_bios_boot(part.type) for part in parts)
    )


def _blocks(tree: Path, home: Home, inside: Runner) -> BootBlocks:
    first = f"{LIBRARY}/{BIOS}/boot.img"
    if not paths.exists_in(tree, first):
        return EMPTY
    grub_home.furnish(tree, home.names, BIOS)
    image = Image(
        target=BIOS, prefix=home.path, modules=("biosdisk", *home.modules), script=home.script
    )
    core = grub_home.make_image(tree, home.names, image, inside)
    return BootBlocks(boot=paths.read_in(tree, first), core=core)


def _unbootable(names: Names, *, bios: bool, efi: bool) -> ConfigError:
    grub2 = names == GRUB2
    packages = (BIOS_PACKAGE2 if grub2 else BIOS_PACKAGE,) * bios
    targets = grub_efi.TARGETS
    packages += tuple(t.package2 if grub2 else t.package for t in targets) * efi
    if packages:
        return ConfigError(
            "the image has no GRUB that could start from this disk",
            where="boot loader",
            hint=f"install one of the packages {', '.join(packages)} into it",
        )
    return ConfigError(
        "the disk has no place for a boot loader",
        where="the block-device document",
        hint=f"give it an MBR, a BIOS boot partition (EF02), or a vfat mounted at {grub_efi.ESP}",
    )

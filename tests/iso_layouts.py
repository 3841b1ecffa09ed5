"""A tree of files as the CD of a distribution: with the boot set-up that its own tools write."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from imagebuilder.process import find

GRUB = Path("/usr/lib/grub/i386-pc")
ISOLINUX = Path("/usr/lib/ISOLINUX")


def ubuntu(target: Path, top: Path, esp: Path, volume_id: str = "OLD ID") -> Path:
    """GRUB from the MBR, the EFI system partition behind the volume, GPT, Joliet."""
    return mkisofs(
        target, "-V", volume_id, "-J", "-joliet-long",
        "--grub2-mbr", GRUB / "boot_hybrid.img",
        "--protective-msdos-label", "-partition_cyl_align", "off", "-partition_offset", 16,
        "--mbr-force-bootable", "-append_partition", 2, "28732ac11ff8d211ba4b00a0c93ec93b", esp,
        "-appended_part_as_gpt", "-iso_mbr_part_type", "a2a0d0ebe5b9334487c068b6b72699c7",
        "-c", "/boot.catalog", "-b", "/boot/grub/i386-pc/eltorito.img", "-no-emul-boot",
        "-boot-load-size", 4, "-boot-info-table", "--grub2-boot-info", "-eltorito-alt-boot",
        "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", top,
    )  # fmt: skip


def debian(target: Path, top: Path, volume_id: str = "OLD ID") -> Path:
    """isolinux, hybrid; the EFI system partition is boot/grub/efi.img."""
    return mkisofs(
        target, "-V", volume_id, "-J", "-joliet-long", "-isohybrid-mbr", ISOLINUX / "isohdpfx.bin",
        "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-boot-load-size", 4,
        "-boot-info-table", "-no-emul-boot", "-eltorito-alt-boot", "-e", "boot/grub/efi.img",
        "-no-emul-boot", "-isohybrid-gpt-basdat", "-isohybrid-apm-hfsplus", top,
    )  # fmt: skip


def proxmox(target: Path, top: Path, volume_id: str = "OLD ID") -> Path:
    """What grub-mkrescue makes: HFS+, GPT and an Apple partition map."""
    if not find("grub-mkrescue") or not Path("/usr/lib/grub/x86_64-efi").exists():
        pytest.skip("needs grub-mkrescue for UEFI")
    words = ["grub-mkrescue", "-o", target, top, "--", "-volid", volume_id]
    subprocess.run(words, check=True, capture_output=True)
    return target


def grub_image(top: Path) -> Path:
    """GRUB's image for BIOS, written where Ubuntu has it."""
    if not (GRUB / "cdboot.img").exists():
        pytest.skip("needs grub-pc-bin")
    made = top / "boot/grub/i386-pc/eltorito.img"
    made.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["grub-mkimage", "-O", "i386-pc-eltorito", "-d", GRUB, "-p", "/boot/grub", "-o", made,
         "biosdisk", "iso9660", "part_gpt", "part_msdos", "normal", "configfile", "linux", "serial",
         "terminal", "search", "echo", "halt", "test"],
        check=True,
    )  # fmt: skip
    return made


def isolinux(top: Path) -> Path:
    """isolinux without its library, in a directory that is given back."""
    if not (ISOLINUX / "isolinux.bin").exists():
        pytest.skip("needs isolinux")
    made = top / "isolinux"
    made.mkdir()
    shutil.copy(ISOLINUX / "isolinux.bin", made)
    return made


def esp(image: Path, files: Iterable[Path], size: str = "2M") -> Path:
    """An EFI system partition with these files in EFI/BOOT."""
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run(["mkfs.vfat", "--invariant", "-n", "TESTESP", image], check=True, stdout=-3)
    for words in (
        ["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"],
        ["mcopy", "-i", image, *files, "::/EFI/BOOT/"],
    ):
        subprocess.run(words, check=True)
    return image


def sums(top: Path) -> None:
    """Write md5sum.txt; what changes when the image is written is not in it."""
    rows = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"./{path.relative_to(top)}\n"
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.name not in ("eltorito.img", "isolinux.bin")
    ]
    (top / "md5sum.txt").write_text("".join(rows))


def mkisofs(target: Path, *words: object) -> Path:
    """An image that mkisofs makes with these options, of these trees."""
    command = ["xorriso", "-as", "mkisofs", "-r", *map(str, words), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target

"""A live CD comes up; and Proxmox' CD, which installs its system, with five changes by elements."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import installer_cds
import pytest
from marks import slow

from imagebuilder.iso import tree
from imagebuilder.iso.probe import probe
from imagebuilder.process import find
from imagebuilder.remaster import inner
from imagebuilder.remaster.iso_diff import parts, shown
from imagebuilder.squashfs.image import Image

if TYPE_CHECKING:
    from conftest import Packages, Workshop

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("qemu-system-x86_64", "mmdebstrap", "xorriso", "mcopy", "sqfs2tar", "tar2sqfs")
    ),
]
ROOT = "live/filesystem.squashfs"
# What Proxmox' console says, from the initrd to the end of the installation.
INSTALLED = (
    "ACME brings the Proxmox VE 6.4 installer",
    "found Proxmox VE ISO on",
    "default country: se",
    "ACME VE Installer",
    "AGENT OF ACME VE: 42",
    "Installation successful!",
)


@pytest.fixture(scope="module")
def live(images: Workshop) -> Path:
    done = images.create(
        "-t", "iso", "-o", "live", "live-iso", "debian-minimal",
        DIB_RELEASE="bookworm", DIB_LIVE_COMPRESSION="zstd:level=1", DIB_ISO_TIMEOUT="1",
        DIB_ISO_KERNEL_ARGS="console=ttyS0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return images.directory / "live.iso"


def starts(images: Workshop, image: Path, mode: str, *expected: str) -> None:
    keep = images.directory / "kept"
    words = [word for each in expected for word in ("--expect", each)]
    words += ["--mode", mode, "--timeout", "900", "--keep", str(keep)]
    done = images.imagebuilder("iso", "test", str(image), *words)
    console = (keep / f"{mode}.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + console[-3000:]
    assert (keep / f"{mode}.png").read_bytes().startswith(b"\x89PNG")


def test_a_live_system_comes_up_from_cd(images: Workshop, live: Path) -> None:
    starts(images, live, "bios-cd", r"Welcome to .*Debian GNU/Linux 12")


@pytest.mark.parametrize("mode", ["bios-disk", "uefi-disk"])
def test_its_kernel_starts_in_other_ways(images: Workshop, live: Path, mode: str) -> None:
    starts(images, live, mode, "Linux version")


def test_secure_boot_accepts_it(images: Workshop, live: Path) -> None:
    starts(images, live, "sb-cd", "Secure boot enabled")


@pytest.fixture(scope="module")
def proxmox(images: Workshop, live: Path, packages: Packages) -> Path:
    """Proxmox' CD: its system and its kernel are the live CD's."""
    place = images.directory / "proxmox"
    for words in (
        ("iso", "extract", str(live), "-o", str(place)),
        ("squashfs", "extract", str(place / ROOT), "-o", str(place / "system")),
    ):
        assert images.imagebuilder(*words).returncode == 0
    unpacked = packages.tree("busybox-static")
    busybox = next(path for path in unpacked.rglob("bin/busybox") if path.is_file())
    made = installer_cds.proxmox(place, place / "system", place / "live/vmlinuz", busybox)
    shutil.rmtree(place / "system")
    return made


@pytest.fixture(scope="module")
def acme(images: Workshop, proxmox: Path) -> Path:
    """The same with the five changes."""
    done = images.create(
        "-n", "-t", "iso", "-o", "acme", "acme-ve",
        DIB_BASE_ISO=str(proxmox), DIB_ISO_VOLUME_ID="ACME", DIB_ISO_TIMEOUT="0",
        DIB_ISO_KERNEL_ARGS="console=ttyS0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return images.directory / "acme.iso"


def test_nothing_else_of_proxmox_differs(proxmox: Path, acme: Path) -> None:
    old, new = (tree.load(probe(path)) for path in (proxmox, acme))
    text = "\n".join(shown(parts(old, new)))
    assert "volume: id: PVE -> ACME" in text
    assert "menuentry 'Rescue Boot'" not in new.read("boot/grub/grub.cfg").decode()
    assert "files of boot/initrd.img:\n  changed: init: " in text
    assert "packages of pve-base.squashfs:\n  added: bc " in text
    assert "files of pve-installer.squashfs:\n  changed: usr/bin/proxinstall: " in text
    assert not [line for line in text.splitlines() if "etc/fstab" in line]
    inside: list[Image] = [inner.image(files, "pve-base.squashfs") for files in (old, new)]
    assert inside[0].made.options == inside[1].made.options
    assert new.nodes["boot/linux26"].mtime == old.nodes["boot/linux26"].mtime


@pytest.mark.parametrize(
    "mode", ["bios-disk", *(pytest.param(mode, marks=slow) for mode in
                            ("bios-cd", "uefi-cd", "uefi-disk"))],
)  # fmt: skip
def test_the_changed_installer_installs_and_sets_up(
    images: Workshop, acme: Path, mode: str
) -> None:
    starts(images, acme, mode, *INSTALLED)

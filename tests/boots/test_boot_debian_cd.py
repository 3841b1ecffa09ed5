"""Debian's installer CD with changes by elements starts in every way, and takes its answers.

Each start takes minutes, so they are run only when IMAGEBUILDER_SLOW_TESTS is set.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import installer_cds
import pytest
from marks import slow

from imagebuilder.process import find

if TYPE_CHECKING:
    from conftest import Packages, Workshop

INSTALLER = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
LOADERS = ("shim-signed", "shim-helpers-amd64-signed", "grub-efi-amd64-signed")
pytestmark = [
    pytest.mark.boots,
    slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("qemu-system-x86_64", "xorriso", "mcopy")
    ),
]


@pytest.fixture(scope="module")
def acme(images: Workshop, packages: Packages) -> Path:
    """The CD with answers, a file in its initrd, fewer files and no menu to wait in."""
    loaders = images.directory / "loaders"
    for name in LOADERS:
        shutil.copytree(packages.tree(name), loaders, symlinks=True, dirs_exist_ok=True)
    place = images.directory / "cd"
    place.mkdir()
    base = installer_cds.debian(place, packages.tree(INSTALLER) / IMAGES, loaders)
    done = images.create(
        "-n", "-t", "iso", "-o", "acme", "acme-installer",
        DIB_BASE_ISO=str(base), DIB_ISO_TIMEOUT="0", DIB_ISO_VOLUME_ID="ACME 12",
        DIB_ISO_KERNEL_ARGS="auto=true priority=critical console=ttyS0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return images.directory / "acme.iso"


@pytest.mark.parametrize("mode", ["bios-cd", "bios-disk", "uefi-cd", "uefi-disk", "sb-cd"])
def test_the_installer_does_what_it_was_told(images: Workshop, acme: Path, mode: str) -> None:
    keep = images.directory / "kept"
    done = images.imagebuilder(
        "iso", "test", str(acme), "--mode", mode, "--timeout", "900", "--keep", str(keep),
        "--expect", "FILE OF ACME", "--expect", "STARTED WITH .*auto=true priority=critical",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + (keep / f"{mode}.txt").read_text()[-3000:]
    assert "tested was a copy" not in done.stdout

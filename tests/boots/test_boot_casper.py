"""A live CD of Ubuntu, and Ubuntu's installer CD with changes, by Secure Boot too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import installer_cds
import pytest
import ubuntu_archive
from marks import slow
from signed_archive import Archive, served

from imagebuilder.iso import checksums, tree
from imagebuilder.iso.probe import probe
from imagebuilder.process import find
from imagebuilder.remaster.iso_diff import parts, shown

if TYPE_CHECKING:
    from conftest import Packages, Workshop

NEEDED = ("qemu-system-x86_64", "mmdebstrap", "xorriso", "mcopy", "sqfs2tar", "tar2sqfs")
pytestmark = [
    slow,
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in (*NEEDED, *ubuntu_archive.NEEDED)
    ),
]
LOWEST = "casper/ubuntu-server-minimal"
# What the installer's console says: from the initrd, of the system, and of what was changed.
SAID = (
    "ACME INITRD",
    r"Welcome to .*Ubuntu 26\.04",
    "THE SYSTEM IS running",
    "AUTOINSTALL OF acme",
    "ADDED BELOW: ACME 42",
    "THE MEDIUM IS sound",
)
MODES = ("bios-cd", "bios-disk", "uefi-cd", "uefi-disk", "sb-cd", "sb-disk")


@pytest.fixture(scope="module")
def archive(
    packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What makes a build take the archive, which is served at one address for all of them."""
    root = tmp_path_factory.mktemp("ubuntu")
    with served(ubuntu_archive.make(root, packages.directory)) as made:
        yield variables(made)


def variables(archive: Archive) -> dict[str, str]:
    return {"DIB_DISTRIBUTION_MIRROR": archive.url, "DIB_APT_KEYRING": str(archive.keyring)}


@pytest.fixture(scope="module")
def live(images: Workshop, archive: dict[str, str]) -> Path:
    """A live CD, whose root filesystem casper finds."""
    done = images.create(
        "-t", "iso", "-o", "live", "live-iso", "ubuntu-minimal", "live-report",
        **archive, DIB_LIVE_COMPRESSION="zstd:level=1", DIB_ISO_TIMEOUT="1",
        DIB_ISO_KERNEL_ARGS="console=ttyS0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return images.directory / "live.iso"


@pytest.fixture(scope="module")
def server(images: Workshop, live: Path) -> Path:
    """Ubuntu Server's CD: its lowest layer and its kernel are the live CD's."""
    place = images.directory / "server"
    for words in (
        ("iso", "extract", str(live), "-o", str(place)),
        ("squashfs", "extract", str(place / "casper/filesystem.squashfs"), "-o", f"{place}/system"),
    ):
        assert images.imagebuilder(*words).returncode == 0
    casper = place / "casper"
    made = installer_cds.ubuntu(place, place / "system", casper / "vmlinuz", casper / "initrd.img")
    shutil.rmtree(place / "system")
    return made


@pytest.fixture(scope="module")
def acme(images: Workshop, server: Path, archive: dict[str, str]) -> Path:
    """The same with the steps of the guide."""
    done = images.create(
        "-n", "-t", "iso", "-o", "acme", "acme-server",
        **archive, DIB_BASE_ISO=f"file:{server}", DIB_ISO_TIMEOUT="0",
        DIB_ISO_KERNEL_ARGS="autoinstall ds=nocloud;s=/cdrom/nocloud/ console=ttyS0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "ubuntu-server.squashfs has a list of packages of its own" in done.stdout
    assert "squashfs.gpg is left out" in done.stdout
    return images.directory / "acme.iso"


def starts(images: Workshop, image: Path, mode: str, *expected: str) -> None:
    keep = images.directory / "kept"
    words = [word for each in expected for word in ("--expect", each)]
    done = images.imagebuilder(
        "iso", "test", str(image), *words, "--mode", mode, "--timeout", "900", "--keep", str(keep)
    )
    console = (keep / f"{mode}.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + console[-3000:]


def test_nothing_else_of_the_cd_differs(server: Path, acme: Path) -> None:
    old, new = (tree.load(probe(path)) for path in (server, acme))
    text = "\n".join(shown(parts(old, new)))
    assert f"packages of {LOWEST}.squashfs:\n  added: bc " in text
    assert "bc\t" in new.read(f"{LOWEST}.manifest").decode()
    assert int(new.read(f"{LOWEST}.size")) > 10**8
    assert '"ds=nocloud;s=/cdrom/nocloud/"' in new.read("boot/grub/grub.cfg").decode()
    assert "files of casper/initrd:\n  changed: scripts/casper: " in text
    assert f"{LOWEST}.ubuntu-server.installer.generic.squashfs" not in text
    listed = checksums.listed(new.read("md5sum.txt").decode())
    assert f"{LOWEST}.squashfs" in listed
    assert "nocloud/user-data" in listed


@pytest.mark.parametrize("mode", MODES)
def test_the_changed_installer_comes_up(images: Workshop, acme: Path, mode: str) -> None:
    starts(images, acme, mode, *SAID)


@pytest.mark.parametrize("mode", ["bios-cd", "sb-disk"])
def test_a_live_ubuntu_comes_up(images: Workshop, live: Path, mode: str) -> None:
    starts(images, live, mode, "Welcome to .*Ubuntu", " login: ", "THE SYSTEM IS running")

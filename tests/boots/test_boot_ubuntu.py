"""`disk-image-create vm ubuntu-minimal` from an archive with Ubuntu's layout, and what it says of
archives with faults."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import ubuntu_archive
from questions import ask
from signed_archive import Archive, served, signer

if TYPE_CHECKING:
    from conftest import Packages, Workshop

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
    pytest.mark.skipif(
        not all(map(shutil.which, ubuntu_archive.NEEDED)), reason="needs apt-get, dpkg-deb and gpg"
    ),
]
CLOUD = ("cloud-init", "cloud-init-datasources", "openssh-server", "growroot", "devuser")
SUITE = f"/dists/{ubuntu_archive.RELEASE}"
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend",
    "cloud": "cloud-init status --long",
    "release": ". /etc/os-release; echo $ID $VERSION_CODENAME $VERSION_ID; hostname",
    "size": "df --output=size -BM / | tail -1",
    "machine": "cat /etc/machine-id",
    "network": "networkctl --no-legend --no-pager",
    "netplan": "ls /etc/netplan",
    "address": "ip -4 -br address show scope global",
    "ssh": "systemctl is-active ssh",
    "efi": "findmnt -no FSTYPE /boot/efi",
    "firmware": "test -d /sys/firmware/efi && echo uefi || echo bios",
    "secure": "mokutil --sb-state",
    "grub": "update-grub 2>/dev/null; grep -c root=LABEL= /boot/grub/grub.cfg",
    "sources": "cat /etc/apt/sources.list.d/*.sources",
}


@pytest.fixture(scope="module")
def archive(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The archive's files."""
    return ubuntu_archive.make(tmp_path_factory.mktemp("ubuntu"), packages.directory)


@pytest.fixture
def mirror(archive: Archive) -> Iterator[Archive]:
    """The archive, served."""
    with served(Archive(archive.root)) as server:
        yield server


@pytest.fixture(scope="module")
def cloud(images: Workshop, archive: Archive) -> Path:
    """A machine for a cloud that offers NoCloud."""
    with served(archive):
        done = images.create(
            "-o", "cloud", "vm", "ubuntu-minimal", "ubuntu-signed", *CLOUD,
            **variables(archive), DIB_CLOUD_INIT_DATASOURCES="NoCloud",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    return images.directory / "cloud.qcow2"


def variables(archive: Archive) -> dict[str, str]:
    """What makes a build take the archive."""
    return {"DIB_DISTRIBUTION_MIRROR": archive.url, "DIB_APT_KEYRING": str(archive.keyring)}


def test_an_ubuntu_machine_is_what_a_user_expects(images: Workshop, cloud: Path) -> None:
    kept = ("--overlay", str(images.directory / "disk.qcow2"), "--disk-size", "5GiB")
    first = ask(images, str(cloud), QUESTIONS, *kept)
    assert first["system"] == "running", first
    assert not first["failed"]
    assert "status: done" in first["cloud"]
    assert first["release"].splitlines()[0] == "ubuntu resolute 26.04"
    assert int(first["size"].rstrip("M")) > 4000
    assert re.search(r"ether +routable +configured", first["network"]), first["network"]
    assert "50-cloud-init.yaml" in first["netplan"]
    assert re.search(r"\d+\.\d+\.\d+\.\d+/\d+", first["address"])
    assert first["ssh"] == "active"
    assert first["efi"] == "vfat"
    assert first["firmware"] == "bios"
    assert int(first["grub"]) >= 2

    again = ask(images, str(cloud), QUESTIONS, *kept, "--secure-boot")
    assert again["system"] == "running", again
    assert not again["failed"]
    assert "status: done" in again["cloud"]
    assert again["firmware"] == "uefi"
    assert again["secure"] == "SecureBoot enabled"
    assert again["machine"] == first["machine"]


def test_updates_take_part_from_the_start(cloud: Path) -> None:
    manifest = cloud.with_name("cloud.d") / "dib-manifests/dib-manifest-dpkg-cloud"
    versions = {p["package"]: p["version"] for p in json.loads(manifest.read_text())["packages"]}
    assert versions["base-files"].endswith("ubuntu0.1")
    assert versions["ubuntu-keyring"]


def test_another_key_is_refused(workshop: Workshop, mirror: Archive, tmp_path: Path) -> None:
    other = tmp_path / "other.gpg"
    with signer(other):
        pass
    said = refused(workshop, mirror, DIB_APT_KEYRING=str(other))
    assert "debootstrap: the archive's signature is not trusted" in said
    assert "DIB_APT_KEYRING" in said


def test_a_changed_index_is_refused(workshop: Workshop, mirror: Archive) -> None:
    signed = (mirror.root / SUITE[1:] / "InRelease").read_bytes()
    mirror.faults = {f"{SUITE}/InRelease": signed.replace(b"26.04", b"26.10", 1)}
    assert "debootstrap: the archive's signature is not trusted" in refused(workshop, mirror)


def test_a_missing_pocket_is_named(workshop: Workshop, mirror: Archive) -> None:
    said = refused(workshop, mirror, DIB_UBUNTU_MIRROR_DISTS="updates,proposed")
    assert "debootstrap: the mirror does not have the release" in said
    assert "resolute-proposed" in said
    assert "DIB_UBUNTU_MIRROR_DISTS" in said


def test_an_index_that_is_out_of_date_is_refused(workshop: Workshop, mirror: Archive) -> None:
    said = refused(workshop, mirror, DIB_RELEASE=ubuntu_archive.STALE, DIB_UBUNTU_MIRROR_DISTS=",")
    assert "debootstrap: the archive's index is out of date" in said


def test_a_truncated_package_is_named(workshop: Workshop, mirror: Archive) -> None:
    (package,) = mirror.root.glob("pool/*/bash_*.deb")
    path = f"/{package.relative_to(mirror.root)}"
    mirror.faults = {path: package.read_bytes()[:5000]}
    said = refused(workshop, mirror)
    assert "debootstrap: the mirror lacks what its index names" in said
    assert " bash amd64 " in said


def test_a_mirror_that_dies_half_way_is_named(workshop: Workshop, mirror: Archive) -> None:
    mirror.patience = 10
    said = refused(workshop, mirror)
    assert "debootstrap: the mirror stopped answering" in said
    assert mirror.url in said


def test_a_keyring_that_is_not_there_is_named(workshop: Workshop) -> None:
    done = workshop.create("vm", "ubuntu-minimal", DIB_APT_KEYRING="/no/such/keyring.gpg")
    assert done.returncode == 1
    said = done.stdout.rstrip().splitlines()[-1]
    assert "debootstrap: the keyring /no/such/keyring.gpg is not there" in said
    assert "install ubuntu-keyring" in said


def test_an_option_that_turns_checks_off_is_refused(workshop: Workshop, mirror: Archive) -> None:
    said = refused(workshop, mirror, DIB_DEBOOTSTRAP_EXTRA_ARGS="--no-check-gpg")
    assert "debootstrap: mmdebstrap does not know an option" in said
    assert "no-check-gpg" in said


def refused(workshop: Workshop, mirror: Archive, **given: str) -> str:
    """The one line that a build ends with, which must fail and leave nothing."""
    settings: Mapping[str, str] = {**variables(mirror), **given}
    done = workshop.create("-t", "tar", "vm", "ubuntu-minimal", **settings)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    assert not list(workshop.directory.glob("image.[!d]*"))
    said = done.stdout.rstrip().splitlines()[-1]
    assert "hint: " in said
    return said

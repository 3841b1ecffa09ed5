"""A machine of Red Hat's family, started by BIOS and UEFI from packages that the tests make."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rpm_system
from questions import ask
from rpm_archive import NEEDED
from signed_archive import Archive, served

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")
        for tool in (*NEEDED, "grub-mkimage", "qemu-system-x86_64")
    ),
]
CLOUD = ("cloud-init", "cloud-init-datasources", "openssh-server", "growroot", "devuser")
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend --plain",
    "release": ". /etc/os-release; echo $ID $VERSION_ID",
    "cmdline": "cat /proc/cmdline",
    "size": "df --output=size -BM / | tail -1",
    "firmware": "test -d /sys/firmware/efi && echo uefi || echo bios",
    "packages": "rpm -q kernel-core bash dnf",
    "dnf": "dnf --version | head -1",
    "machine": "cat /etc/machine-id",
    "address": "ip -4 -br address show scope global",
    "cloud": "cloud-init status --long",
    "network": "ls /etc/NetworkManager/system-connections",
    "ssh": "systemctl is-active sshd",
}


@pytest.fixture(scope="module")
def centos(images: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine for a cloud that offers NoCloud."""
    system = rpm_system.make(rpm_system.kept(tmp_path_factory))
    repositories = images.directory / "repositories"
    repositories.mkdir()
    with served(Archive(system.root)) as archive:
        (repositories / "system.repo").write_text(system.repository(archive.url))
        done = images.create(
            *("-o", "centos", "-p", "git-core,device-mapper-multipath"),
            *("vm", "centos-minimal", *CLOUD),
            DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=str(repositories), DIB_CLOUD_INIT_DATASOURCES="NoCloud",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return images.directory / "centos.qcow2"


def test_it_runs_has_grown_and_starts_again(images: Workshop, centos: Path) -> None:
    kept = ("--disk-size", "5GiB", "--overlay", str(images.directory / "disk.qcow2"))
    first = ask(images, str(centos), QUESTIONS, *kept)
    assert first["firmware"] == "bios"
    assert "console=ttyS0" in first["cmdline"]
    assert "not installed" not in first["packages"]
    assert first["dnf"] == "4.14.0"
    again = ask(images, str(centos), QUESTIONS, *kept, "--firmware", "uefi")
    assert again["firmware"] == "uefi"
    assert again["machine"] == first["machine"]
    for answers in (first, again):
        assert answers["system"] == "running", answers
        assert "status: done" in answers["cloud"]
        assert answers["ssh"] == "active"
        assert "cloud-init" in answers["network"]
        assert not answers["failed"]
        assert answers["release"] == "centos 9"
        assert "root=LABEL=cloudimg-rootfs" in answers["cmdline"]
        assert int(answers["size"].rstrip("M")) > 4000
        assert re.search(r"\d+\.\d+\.\d+\.\d+/\d+", answers["address"])


@pytest.mark.parametrize("published", ["as it is", "another one"])
def test_a_published_image_becomes_a_root(
    images: Workshop, centos: Path, tmp_path: Path, published: str
) -> None:
    os.link(centos, tmp_path / centos.name)
    digest = hashlib.sha256(centos.read_bytes() + published.encode() * (published != "as it is"))
    (tmp_path / "SUMS").write_text(f"SHA256 ({centos.name}) = {digest.hexdigest()}\n")
    with served(Archive(tmp_path)) as archive:
        done = images.create(
            "-n", "-o", "again", "-t", "tar", "vm", "centos",
            DIB_CLOUD_IMAGES=archive.url, BASE_IMAGE_FILE=centos.name,
            DIB_CLOUD_IMAGES_SUMS=f"{archive.url}/SUMS",
        )  # fmt: skip
    if published == "as it is":
        assert done.returncode == 0, done.stdout[-4000:]
        with tarfile.open(images.directory / "again.tar") as tar:
            assert {"./usr/bin/dnf", "./boot/grub2/grub.cfg"} <= {*tar.getnames()}
    else:
        assert done.returncode == 1
        assert f"{centos.name} is not what was expected: its SHA-256 is not" in done.stdout

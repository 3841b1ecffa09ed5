"""Debian images, built by the commands of the README and started in qemu."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from marks import slow
from questions import ask

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]
CLOUD = ("cloud-init", "cloud-init-datasources", "openssh-server", "growroot", "devuser")
# What hardened machines have; a hook changes GRUB's settings after the menu was made, as they do.
BOOT_APART = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 100MiB
        mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}
      - {name: BSP, type: EF02, size: 1MiB}
      - {name: boot, size: 300MiB, mkfs: {type: ext4, mount: {mount_point: /boot, fstab: {}}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
"""
LAYOUTS = {"bookworm": {}, "trixie": {"DIB_BLOCK_DEVICE_CONFIG": BOOT_APART}}
HARDENED = """
echo 'GRUB_CMDLINE_LINUX="hardened=1"' >>/etc/default/grub
sudo update-grub
"""
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend",
    "release": ". /etc/os-release; echo $ID $VERSION_CODENAME",
    "cloud": "cloud-init status --long",
    "source": "cloud-id; cat /run/cloud-init/result.json",
    "network": "cd /; ls etc/netplan etc/systemd/network run/systemd/network etc/network/*.d",
    "size": "df --output=size -BM / | tail -1",
    "machine": "cat /etc/machine-id",
    "keys": "ls /etc/ssh/*_key | wc -l",
    "address": "ip -4 -br address show scope global",
    "user": "id -nG devuser",
    "ssh": "systemctl is-active ssh",
    "cmdline": "cat /proc/cmdline",
    "efi": "findmnt -no FSTYPE /boot/efi",
    "secure": "od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '",
    "firmware": "test -d /sys/firmware/efi && echo uefi || echo bios",
    "grub": "update-grub 2>/dev/null; grep -c root=LABEL= /boot/grub/grub.cfg",
}


@pytest.fixture(scope="module")
def web(images: Workshop) -> Path:
    """The image that the README's first command makes."""
    done = images.imagebuilder("build", "-o", "web", "vm", "debian-minimal")
    assert done.returncode == 0, done.stdout + done.stderr
    return images.directory / "web.qcow2"


@pytest.fixture(scope="module", params=[pytest.param("bookworm", marks=slow), "trixie"])
def cloud(request: pytest.FixtureRequest, images: Workshop) -> Path:
    """A machine for a cloud that offers NoCloud; one of the two has a partition for /boot."""
    images.element("hardened", {"finalise.d/80-hardened": HARDENED})
    done = images.create(
        "-o", request.param, "vm", "debian-minimal", *CLOUD, "hardened",
        DIB_RELEASE=request.param, DIB_CLOUD_INIT_DATASOURCES="NoCloud", DIB_CHECKSUM="sha256",
        **LAYOUTS[request.param],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return images.directory / f"{request.param}.qcow2"


def boot(images: Workshop, image: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return images.imagebuilder("boot", str(image), "--timeout", "400", *words)


def test_the_readmes_image_comes_up(images: Workshop, web: Path) -> None:
    done = boot(images, web, "--expect", "debian login:")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_its_readers_accept_the_image(images: Workshop, web: Path) -> None:
    raw = images.directory / "web.raw"
    for command in (
        ["qemu-img", "check", web],
        ["qemu-img", "convert", "-O", "raw", web, raw],
        ["sfdisk", "--verify", raw],
    ):
        subprocess.run(command, check=True)
    table = json.loads(subprocess.check_output(["sfdisk", "--json", raw]))["partitiontable"]
    starts = {part["node"][-1]: part["start"] * 512 for part in table["partitions"]}
    assert sorted(starts) == ["1", "2"]
    subprocess.run(["e2fsck", "-fn", f"{raw}?offset={starts['1']}"], check=True)
    names = subprocess.check_output(["mdir", "-b", "-i", f"{raw}@@{starts['2']}", "::/EFI/BOOT"])
    assert b"BOOTX64.EFI" in names
    raw.unlink()


def test_a_cloud_machine_is_what_a_user_expects(images: Workshop, cloud: Path) -> None:
    disk = images.directory / f"{cloud.stem}-disk.qcow2"
    kept = ("--overlay", str(disk), "--disk-size", "5GiB")
    first = ask(images, str(cloud), QUESTIONS, *kept)
    check_sound(first)
    assert first["release"] == f"debian {cloud.stem}"
    assert not re.search(r"error(?!s: (\[\]|\{\}))", first["cloud"])
    assert re.fullmatch(r"[0-9a-f]{32}", first["machine"])
    assert int(first["keys"]) >= 2
    assert first["user"].split()[0] == "devuser"
    assert first["ssh"] == "active"
    assert "root=LABEL=cloudimg-rootfs" in first["cmdline"]
    assert "console=ttyS0" in first["cmdline"]
    assert "hardened=1" in first["cmdline"]
    assert first["efi"] == "vfat"
    assert first["firmware"] == "bios"
    assert int(first["grub"]) >= 2

    again = ask(images, str(cloud), QUESTIONS, *kept, "--secure-boot")
    check_sound(again)
    assert again["machine"] == first["machine"]
    assert (again["firmware"], again["secure"]) == ("uefi", "1")
    disk.unlink()


def check_sound(answers: dict[str, str]) -> None:
    """All is up, the network is what cloud-init has made it, and the disk has grown."""
    assert answers["system"] == "running", answers
    assert not answers["failed"]
    assert "status: done" in answers["cloud"]
    assert "NoCloud" in answers["source"]
    assert "cloud-init" in answers["network"]
    assert re.search(r"\d+\.\d+\.\d+\.\d+/\d+", answers["address"])
    assert int(answers["size"].rstrip("M")) > 4000


def test_no_two_machines_are_one(cloud: Path) -> None:
    raw = cloud.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", cloud, raw], check=True)
    table = json.loads(subprocess.check_output(["sfdisk", "--json", raw]))["partitiontable"]
    root = max(table["partitions"], key=lambda part: part["size"])
    for question, answer in (("cat /etc/machine-id", "uninitialized"), ("ls /etc/ssh", "")):
        command = ["debugfs", "-R", question, f"{raw}?offset={root['start'] * 512}"]
        found = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
        assert answer in found or not found.strip()
        assert "_key" not in found
    raw.unlink()


def test_its_checksum_is_beside_it(cloud: Path) -> None:
    subprocess.run(["sha256sum", "-c", f"{cloud.name}.sha256"], cwd=cloud.parent, check=True)
    assert not cloud.with_name(f"{cloud.name}.md5").exists()

"""A machine of Red Hat's family, started by BIOS and UEFI from packages that the tests make."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rpm_system
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
QUESTIONS = {
    "failed": "systemctl --failed --no-legend --plain",
    "release": ". /etc/os-release; echo $ID $VERSION_ID",
    "cmdline": "cat /proc/cmdline",
    "size": "df --output=size -BM / | tail -1",
    "firmware": "test -d /sys/firmware/efi && echo uefi || echo bios",
    "packages": "rpm -q kernel-core bash dnf",
    "dnf": "dnf --version | head -1",
    "address": "ip -4 -br address show scope global",
    "system": "systemctl is-system-running --wait",
}
REPORT = """\
[Unit]
Description=Report on the console
[Service]
ExecStart=/bin/bash /usr/local/sbin/report
"""


@pytest.fixture(scope="module")
def centos(images: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a CentOS that grows, and that answers questions on its console."""
    # A getty that starts meanwhile hangs up whoever has the port open: each line opens it anew.
    lines = [
        f"echo answer {name}: $({question}) > /dev/ttyS0" for name, question in QUESTIONS.items()
    ]
    wait, end = "systemctl is-system-running --wait", "echo all said > /dev/ttyS0"
    images.element("reporting", {
        "reporting/report": "\n".join([wait, *lines, end]),
        "reporting/report.service": REPORT,
        "install.d/60-reporting": """
            here=$(dirname "$0")/../reporting
            install -D -m 0755 "$here/report" /usr/local/sbin/report
            install -D -m 0644 "$here/report.service" /etc/systemd/system/report.service
            mkdir -p /etc/systemd/system/multi-user.target.wants
            ln -s ../report.service /etc/systemd/system/multi-user.target.wants/
        """,
    })  # fmt: skip
    system = rpm_system.make(rpm_system.kept(tmp_path_factory))
    repositories = images.directory / "repositories"
    repositories.mkdir()
    with served(Archive(system.root)) as archive:
        (repositories / "system.repo").write_text(system.repository(archive.url))
        done = images.create(
            "-o", "centos", "vm", "centos-minimal", "growroot", "reporting",
            DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=str(repositories),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return images.directory / "centos.qcow2"


def ask(images: Workshop, image: Path, *words: str) -> dict[str, str]:
    """Boot the image; its answers."""
    done = images.imagebuilder(
        "boot", str(image), "--timeout", "400", "--expect", "all said", "--expect", "login:", *words
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    said = re.findall(r"answer (\w+):(.*)", done.stdout)
    return {name: text.strip() for name, text in said}


def test_it_runs_after_a_start_by_bios_and_has_grown(images: Workshop, centos: Path) -> None:
    answers = ask(images, centos, "--disk-size", "5GiB")
    assert answers["system"] == "running", answers
    assert not answers["failed"]
    assert answers["release"] == "centos 9"
    assert answers["firmware"] == "bios"
    assert "root=LABEL=cloudimg-rootfs" in answers["cmdline"]
    assert "console=ttyS0" in answers["cmdline"]
    assert int(answers["size"].rstrip("M")) > 4000
    assert "not installed" not in answers["packages"]
    assert answers["dnf"] == "4.14.0"
    assert re.search(r"\d+\.\d+\.\d+\.\d+/\d+", answers["address"])


def test_it_runs_after_a_start_by_uefi(images: Workshop, centos: Path) -> None:
    answers = ask(images, centos, "--firmware", "uefi")
    assert answers["system"] == "running", answers
    assert answers["firmware"] == "uefi"
    assert "root=LABEL=cloudimg-rootfs" in answers["cmdline"]

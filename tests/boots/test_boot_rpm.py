"""A machine of Red Hat's family, started by BIOS and UEFI from packages that the tests make."""

from __future__ import annotations

import json
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
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend",
    "release": ". /etc/os-release; echo $ID $VERSION_ID",
    "cmdline": "cat /proc/cmdline",
    "size": "df --output=size -BM / | tail -1",
    "firmware": "test -d /sys/firmware/efi && echo uefi || echo bios",
    "packages": "rpm -q kernel-core bash dnf",
    "dnf": "dnf --version | head -1",
    "address": "ip -4 -br address show scope global",
}


@pytest.fixture(scope="module")
def centos(images: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a CentOS that grows."""
    system = rpm_system.make(rpm_system.kept(tmp_path_factory))
    repositories = images.directory / "repositories"
    repositories.mkdir()
    with served(Archive(system.root)) as archive:
        (repositories / "system.repo").write_text(system.repository(archive.url))
        done = images.create(
            "-o", "centos", "vm", "centos-minimal", "growroot",
            DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=str(repositories),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return images.directory / "centos.qcow2"


def ask(images: Workshop, image: Path, *words: str) -> dict[str, str]:
    """Boot the image, run the questions in it, and give each one's answer."""
    script = "; ".join(
        f"echo '=={name}'; ( {question} ) 2>&1" for name, question in QUESTIONS.items()
    )
    report = images.directory / "outcome.json"
    done = images.imagebuilder(
        "boot", str(image), "--timeout", "400", "--run", script, "--json", str(report), *words
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    answers = re.split(r"==(\w+)\n", json.loads(report.read_text())["output"])[1:]
    return {name: text.strip() for name, text in zip(answers[::2], answers[1::2], strict=True)}


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


def test_it_comes_up_by_uefi(images: Workshop, centos: Path) -> None:
    done = images.imagebuilder(
        "boot", str(centos), "--timeout", "400", "--firmware", "uefi", "--expect", "login:"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr

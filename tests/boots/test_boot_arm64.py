"""A Debian image for arm64, built with emulated programs and started in an emulated machine.

It takes a quarter of an hour or more, so it is run only when IMAGEBUILDER_SLOW_TESTS is set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from questions import ask

if TYPE_CHECKING:
    from conftest import Workshop

NEEDED = ("mmdebstrap", "arch-test", "qemu-system-aarch64")
REGISTRARS = tuple(map(Path, ("/usr/sbin/update-binfmts", "/usr/lib/systemd/systemd-binfmt")))
pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(
        not os.environ.get("IMAGEBUILDER_SLOW_TESTS"), reason="IMAGEBUILDER_SLOW_TESTS is not set"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}") for name in NEEDED),
    pytest.mark.skipif(
        not any(map(Path.exists, REGISTRARS)), reason="needs binfmt-support or systemd-binfmt"
    ),
]
# Where the host has no emulator registered, one is for the time of the build: what is registered
# in a mount namespace that nobody else shares goes with it.
REGISTER = """
exec 3>&1 >&2
if ! arch-test arm64; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    update-binfmts --enable qemu-aarch64 || /usr/lib/systemd/systemd-binfmt
fi
arch-test arm64 && exec "$@" >&3
"""
WORDS = (
    *("-a", "arm64", "-o", "arm", "vm", "debian-minimal", "cloud-init", "cloud-init-datasources"),
    *("openssh-server", "growroot", "devuser"),
)
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend",
    "cloud": "cloud-init status --long",
    "machine": "uname -m; cat /etc/machine-id",
    "size": "df --output=size -BM / | tail -1",
    "address": "ip -4 -br address show scope global",
}


def test_an_arm64_machine_is_what_a_user_expects(workshop: Workshop) -> None:
    settings = {"DIB_RELEASE": "bookworm", "DIB_CLOUD_INIT_DATASOURCES": "NoCloud"}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", REGISTER, "-",
         sys.executable, "-m", "imagebuilder", "build", *WORDS],
        cwd=workshop.directory, env=workshop.variables(settings),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    words = ("--arch", "arm64", "--firmware", "uefi", "--timeout", "900")
    kept = ("--overlay", "disk.qcow2", "--disk-size", "5GiB")
    first, again = (ask(workshop, "arm.qcow2", QUESTIONS, *words, *kept) for _ in range(2))
    assert first["machine"].startswith("aarch64\n")
    assert first["machine"] == again["machine"]
    for answers in (first, again):
        assert "status: done" in answers["cloud"]
        assert int(answers["size"].rstrip("M")) > 4000
        assert re.search(r"\d+\.\d+\.\d+\.\d+/\d+", answers["address"])
        assert answers["system"] == "running", answers
        assert not answers["failed"]

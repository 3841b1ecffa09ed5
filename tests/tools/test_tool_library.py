"""The shell libraries in scripts beside a build, which source them by their path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import imagebuilder

FUNCTIONS = Path(imagebuilder.__file__).parent / "lib" / "common-functions"
SCRIPT = """\
source "$1"
TMP_MOUNT_PATH=link
mkdir -p mnt/proc mnt/dev mnt/sys
ln -s mnt link
mount_proc_dev_sys
grep -c "$PWD/" /proc/mounts
ls mnt/proc/self/status mnt/dev/null mnt/dev/pts/ptmx
unmount_dir link
grep -c "$PWD/" /proc/mounts
unmount_dir /nowhere
"""
pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts, in a namespace of its own"),
]


def test_kernel_filesystems_are_mounted_and_gone_again(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", SCRIPT, "bash", str(FUNCTIONS)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "4", "mnt/dev/null", "mnt/dev/pts/ptmx", "mnt/proc/self/status", "0",
        "*** /nowhere is not a directory",
    ]  # fmt: skip

"""Finds out what diskimage-builder needs and this machine cannot do, and puts stand-ins first
on its PATH; afterwards clears away what a failed build has left mounted or attached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent / "stand_ins"
MAPPER = Path("/dev/mapper")


def needed(scratch: Path) -> dict[str, str]:
    """The programs that need a stand-in, and why each does."""
    reasons = {name: "is not installed" for name in ("sudo", "udevadm") if not shutil.which(name)}
    if not _succeeds(["dmsetup", "version"]):
        why = "the kernel has no device-mapper"
        reasons |= {"kpartx": why, "dmsetup": why}
    elif not shutil.which("kpartx"):
        reasons["kpartx"] = "is not installed"
    if not _can_trim(scratch):
        reasons["fstrim"] = "a loop device cannot discard"
    return reasons


def link(names: Mapping[str, str], directory: Path) -> Path:
    """A directory for the front of PATH, with the stand-ins called `names`."""
    directory.mkdir()
    for name in names:
        (directory / name).symlink_to(HERE / name)
    return directory


def sweep(scratch: Path) -> list[str]:
    """Unmount and detach whatever still uses `scratch`; what that was."""
    loops, mounts = _loops_on(scratch), _mounts_below(scratch)  # unmounted, a file has no path
    for point in mounts:
        subprocess.run(["umount", "--lazy", point], check=True)
    for loop in loops:
        subprocess.run(["losetup", "--detach", loop], check=True)
    for path in MAPPER.glob("loop*p*") if MAPPER.is_dir() else ():
        if path.is_symlink() and str(path.readlink()) in loops:
            path.unlink()
    return [*mounts, *loops]


def _mounts_below(scratch: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = (line.split()[1] for line in lines)
    return [point for point in reversed(list(points)) if point.startswith(f"{scratch}/")]


def _loops_on(scratch: Path) -> list[str]:
    """Loop devices whose file is in `scratch`."""
    done = subprocess.run(["losetup", "--json", "--list"], capture_output=True, check=True)
    loops = json.loads(done.stdout)["loopdevices"] if done.stdout else ()
    return [each["name"] for each in loops if each["back-file"].startswith(f"{scratch}/")]


def _can_trim(scratch: Path) -> bool:
    """Whether fstrim works on an ext4 on a loop device, tried on a small one."""
    point, image = scratch / "trim", scratch / "trim.raw"
    point.mkdir()
    image.touch()
    os.truncate(image, 32 << 20)
    try:
        return (
            _succeeds(["mkfs.ext4", "-q", str(image)])
            and _succeeds(["mount", "-o", "loop", str(image), str(point)])
            and _succeeds(["fstrim", str(point)])
        )
    finally:
        if os.path.ismount(point):
            subprocess.run(["umount", str(point)], check=True)
        point.rmdir()
        image.unlink()


def _succeeds(argv: Sequence[str]) -> bool:
    if not shutil.which(argv[0]):
        return False
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0

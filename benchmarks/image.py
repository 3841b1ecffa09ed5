"""Looks into a finished image, without mounting it: is it sound, and what is installed in it?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

SECTOR = 512


def check(image: Path) -> None:
    """Look whether an image is sound, or an archive complete; raise CalledProcessError."""
    commands = {
        ".qcow2": ["qemu-img", "check", "-q"],
        ".raw": ["sfdisk", "--quiet", "--verify"],
        ".tgz": ["gzip", "--test"],
        ".tar": ["tar", "--exclude=*", "--list", "--file"],
    }
    subprocess.run([*commands[image.suffix], str(image)], check=True)


def packages(image: Path, scratch: Path) -> dict[str, str]:
    """The Debian packages that the image has installed, and their versions."""
    if image.suffix == ".raw":
        return _installed(_read(image, "/var/lib/dpkg/status"))
    if image.suffix != ".qcow2":
        argv = ["tar", "--extract", "--to-stdout", "--file", str(image), "./var/lib/dpkg/status"]
        done = subprocess.run(argv, capture_output=True, check=False)  # no status: no packages
        return _installed(done.stdout.decode())
    raw = scratch / "image.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    try:
        return _installed(_read(raw, "/var/lib/dpkg/status"))
    finally:
        raw.unlink()


def _read(raw: Path, name: str) -> str:
    """The text of a file in the ext filesystem of the disk's largest partition (`debugfs(8)`)."""
    done = subprocess.run(
        ["debugfs", "-R", f"cat {name}", f"{raw}?offset={_offset(raw)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return done.stdout.decode()


def _offset(raw: Path) -> int:
    done = subprocess.run(["sfdisk", "--json", str(raw)], capture_output=True, check=False)
    if done.returncode:
        return 0  # no partition table: the filesystem is the disk
    partitions = json.loads(done.stdout)["partitiontable"]["partitions"]
    return int(max(partitions, key=lambda each: int(each["size"]))["start"]) * SECTOR


def _installed(status: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return found

"""xfs, made by mkfs.xfs and filled by the kernel (`mounted`).

`mkfs.xfs -p` fills it too, but before xfsprogs 6.17 without times, hard links, sticky bits and
attributes, and from then on with ACLs that are none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from imagebuilder.disk.image import Borrowed
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.filesystems import mounted
from imagebuilder.filesystems.measure import OUT_OF_RANGE, Loss, Measured
from imagebuilder.process import Command, Runner
from imagebuilder.sizes import Size

BLOCK = 4096
LEAST = 300 * 2**20  # mkfs.xfs makes none smaller since xfsprogs 5.19
LOG_SHARE, LEAST_LOG, MOST_LOG = 2048, 64 * 2**20, 2**31
INODE = 512 + 64  # bytes: the inode, and what its clusters and their trees take besides
ENTRY = 24  # bytes of a directory entry besides its name: in data, leaf and free index
SLACK = 0.06  # kept back by the kernel, and for trees of free space
# Features that a newer mkfs.xfs turns on and an older kernel or GRUB cannot read, with the release
# that first knew them: before it, naming them is an error.
TOO_NEW = (
    ((5, 19), ("-i", "nrext64=0")),
    ((6, 10), ("-i", "exchange=0")),
    ((6, 10), ("-n", "parent=0")),
)


def check(filesystem: Filesystem) -> None:
    """Raise ToolMissingError if this host cannot fill it."""
    mounted.check(filesystem.type)


def make(placed: Placed, tree: Path, image: Path, run: Runner) -> tuple[Borrowed, ...]:
    """Write a filesystem with the content of `tree` into `image`; raise SpaceError if too small."""
    release = _release(run(Command(("mkfs.xfs", "-V"))).output)
    mounted.fill(placed, tree, image, lambda device: mkfs(placed, device, release), run)
    return ()


def mkfs(placed: Placed, device: Path, release: tuple[int, ...]) -> Command:
    """The command that makes the filesystem; options of the user's come last."""
    fs = placed.filesystem
    asked = " ".join(fs.options)
    return Command((
        "mkfs.xfs", "-q", "-f", "-K",
        "-L", fs.label,
        "-m", f"uuid={fs.uuid}",
        *(word for since, words in TOO_NEW if release >= since for word in words
          if words[1].split("=")[0] not in asked),
        *fs.options,
        os.fspath(device),
    ))  # fmt: skip


def needed(filesystem: Filesystem, measured: Measured) -> Size:
    """A size that is enough for the tree: its content, the log, and what the kernel keeps back."""
    del filesystem
    listings = sum(
        -(-(entries * ENTRY + 2 * names + 512) // BLOCK) * BLOCK
        for entries, names in measured.directories
    )
    maps = measured.sparse // BLOCK * 16
    content = (
        measured.data
        + measured.inodes * INODE
        + listings
        + maps
        + measured.attribute_blocks * 2 * BLOCK
        + measured.attributes
    )
    size = int(content / (1 - SLACK)) + 16 * 2**20
    log = min(MOST_LOG, max(LEAST_LOG, size // LOG_SHARE))
    return Size(max(LEAST, size + log)).up_to(2**20)


def losses(filesystem: Filesystem, measured: Measured) -> tuple[Loss, ...]:
    """What is not kept of the tree."""
    del filesystem
    return measured.losses(OUT_OF_RANGE)


def _release(output: str) -> tuple[int, ...]:
    """From `mkfs.xfs version 6.1.0`; empty, and so older than all, if it does not say."""
    found = re.search(r"version (\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else ()

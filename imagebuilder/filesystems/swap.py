"""Swap areas: one page that says what the rest is (Linux, `include/linux/swap.h`, swap_header).

Written here because mkswap(8) knows no offset into a file before util-linux 2.40.
"""

from __future__ import annotations

import struct
from pathlib import Path

from imagebuilder.disk.image import Borrowed
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import SpaceError
from imagebuilder.filesystems.measure import Loss, Measured
from imagebuilder.process import Runner
from imagebuilder.sizes import Size

PAGE = 4096
LEAST = 10  # pages; mkswap(8) makes none smaller
MAGIC = b"SWAPSPACE2"


def make(placed: Placed, tree: Path, image: Path, run: Runner) -> tuple[Borrowed, ...]:
    """Write a swap header into `image`; there is nothing to pour, and nothing to run."""
    del tree, run
    if placed.size < LEAST * PAGE:
        raise SpaceError(
            f"{placed.size} are too few for swap: at least {Size(LEAST * PAGE)}",
            where=placed.filesystem.name,
        )
    with image.open("r+b") as file:
        file.seek(placed.offset)
        file.write(header(placed.filesystem, placed.size))
    return ()


def header(filesystem: Filesystem, size: int) -> bytes:
    """The first page: version 1, the last page's number, no bad pages, UUID and label."""
    fields = struct.pack(
        "<III16s16s",
        1,
        size // PAGE - 1,
        0,
        filesystem.uuid.bytes,
        filesystem.label.encode(),
    )
    return (bytes(1024) + fields).ljust(PAGE - len(MAGIC), b"\0") + MAGIC


def needed(filesystem: Filesystem, measured: Measured) -> Size:
    """The smallest swap area there is; a tree takes no room in it."""
    del filesystem, measured
    return Size(LEAST * PAGE)


def losses(filesystem: Filesystem, measured: Measured) -> tuple[Loss, ...]:
    """Nothing: nothing is put into a swap area."""
    del filesystem, measured
    return ()

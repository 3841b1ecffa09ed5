"""btrfs: filled by the kernel where that is possible (`mounted`), else by mkfs.btrfs itself.

`mkfs.btrfs --rootdir` needs neither root nor a kernel that knows btrfs, but forgets the numbers
of devices and fractions of seconds, and before 6.14 the root directory's time.
"""

from __future__ import annotations

import os
from pathlib import Path

from imagebuilder.disk.image import Borrowed
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import CommandError, SpaceError
from imagebuilder.filesystems import mounted
from imagebuilder.filesystems.measure import DEVICE, Loss, Measured
from imagebuilder.process import Command, Runner
from imagebuilder.sandbox import loops
from imagebuilder.sizes import Size

LEAST = 128 * 2**20
INLINE = 2048  # bytes of a file that lie beside its inode
COPIES = 2  # of all metadata
INODE = 160 + 60 + 2 * 60  # inode, reference to it, and its two entries in the directory
CHECKSUM = 4  # bytes for each block
FULL = ("No space left on device", "no space", "unable to allocate", "ENOSPC")


def make(placed: Placed, tree: Path, image: Path, run: Runner) -> tuple[Borrowed, ...]:
    """Write a filesystem with the content of `tree` into `image`; raise SpaceError if too small."""
    if not mounted.obstacle(placed.filesystem.type):
        with loops.turn():
            mounted.fill(placed, tree, image, lambda device: mkfs(placed, device), run)
        return ()
    apart = image.with_name(f"{image.name}.{placed.filesystem.name}")
    with apart.open("wb") as file:
        file.truncate(placed.size)
    try:
        run(mkfs(placed, apart, tree))
        _splice(apart, image, placed.offset)
    except CommandError as error:
        if any(words in error.what for words in FULL):
            raise SpaceError(
                f"{placed.size} are too few for what goes into {placed.filesystem.name}",
                where=str(tree),
                hint="make its partition, or the image, larger",
            ) from error
        raise
    finally:
        apart.unlink()
    return ()


def mkfs(placed: Placed, target: Path, tree: Path | None = None) -> Command:
    """The command that makes the filesystem, and fills it if there is a `tree`."""
    fs = placed.filesystem
    return Command((
        "mkfs.btrfs", "--quiet", "--force", "--nodiscard",
        "--label", fs.label,
        "--uuid", str(fs.uuid),
        *(() if tree is None else ("--rootdir", os.fspath(tree))),
        *fs.options,
        os.fspath(target),
    ))  # fmt: skip


def needed(filesystem: Filesystem, measured: Measured) -> Size:
    """A size that is enough for the tree; chunks of metadata are taken whole, and twice."""
    del filesystem
    data = measured.expanded
    names = sum(2 * names for _, names in measured.directories)
    metadata = (
        measured.inodes * INODE
        + min(measured.files * INLINE, data)
        + names
        + measured.attributes
        + measured.attribute_blocks * 512
        + data // 4096 * CHECKSUM
        + measured.sparse // 4096 * 60
    )
    size = int(data * 1.12) + int(COPIES * metadata * 1.6) + LEAST
    return Size(size).up_to(2**20)


def losses(filesystem: Filesystem, measured: Measured) -> tuple[Loss, ...]:
    """What is not kept of the tree: nothing if the kernel can fill it."""
    return measured.losses(DEVICE) if mounted.obstacle(filesystem.type) else ()


def _splice(source: Path, image: Path, offset: int) -> None:
    """Copy what `source` has to `offset` in `image`, but for its holes."""
    with source.open("rb") as file, image.open("r+b") as disk:
        size, end = source.stat().st_size, 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            disk.seek(offset + start)
            while start < end:
                start += os.sendfile(disk.fileno(), file.fileno(), start, end - start)

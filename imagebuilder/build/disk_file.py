"""A laid-out disk becomes a file: filesystems, volumes and tables, each in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from imagebuilder import registry
from imagebuilder.build import apart
from imagebuilder.disk.image import Borrowed, Image
from imagebuilder.disk.model import Layout, Placed
from imagebuilder.formats import assembled
from imagebuilder.process import Runner


def write(planned: Layout, contents: Mapping[str, Path], image: Path, run: Runner) -> Image:
    """Write the disk; `contents` are the trees that go into its filesystems, by name."""
    with image.open("wb") as file:
        file.truncate(planned.size)
    borrowed: list[Borrowed] = []
    files: dict[str, Path] = {}  # of thin volumes
    for placed in planned.placed:
        fs = placed.filesystem
        target = _apart(placed, image) if placed.apart else image
        module = registry.find("filesystems", fs.type)
        elsewhere = module.make(placed, contents[fs.name], target, run) or ()
        if not placed.apart:
            borrowed += elsewhere
            continue
        assembled.whole(Image(file=target, borrowed=tuple(sorted(elsewhere))))
        if placed.pool:
            files[fs.base] = target
        else:
            apart.scatter(target, placed.pieces, image)
            target.unlink()
    for pool in planned.pools:
        apart.fill_pool(pool, files, image, run)
    for made in files.values():
        made.unlink()
    lay(image, planned.pieces)
    return Image(file=image, borrowed=tuple(sorted(borrowed)))


def lay(image: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write bytes at their offsets."""
    with image.open("r+b") as file:
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)


def _apart(placed: Placed, image: Path) -> Path:
    """An empty file for a filesystem that has no one place on the disk."""
    made = image.with_name(f"{placed.filesystem.name}.apart")
    with made.open("wb") as file:
        file.truncate(placed.size)
    return made

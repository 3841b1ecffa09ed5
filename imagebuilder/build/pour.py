"""A finished tree becomes disk images: measured, laid out, poured; nothing is ever mounted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import registry
from imagebuilder.boot.grub_bios import embed
from imagebuilder.boot.model import BootBlocks
from imagebuilder.disk.layout import Demand, image_size, layout
from imagebuilder.disk.model import Device, Disk, Filesystem, Layout
from imagebuilder.events import Finished, Listener, Said, Started, Step
from imagebuilder.filesystems.measure import Measured, measure
from imagebuilder.hooks.place import Place
from imagebuilder.plan.model import Plan
from imagebuilder.process import Runner
from imagebuilder.sizes import Size

SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Pouring:
    """What pouring needs to know."""

    plan: Plan
    place: Place
    run: Runner
    listen: Listener

    @property
    def disk(self) -> Disk:
        return self.plan.draft.disk


@contextmanager
def stage(listen: Listener, name: str) -> Generator[None, None, None]:
    """Report a stage of the build that is not a phase."""
    step, begun, status = Step(name), time.monotonic(), 1
    listen(Started(step))
    try:
        yield
        status = 0
    finally:
        listen(Finished(step, status, time.monotonic() - begun))


def pour(pouring: Pouring, blocks: BootBlocks) -> Mapping[str, Path]:
    """Write every device's image; the name of each, and its file."""
    with stage(pouring.listen, "pour"):
        disk, place = pouring.disk, pouring.place
        whole = measure(place.tree)
        contents = _split(disk, place)
        measured = {name: measure(tree) for name, tree in contents.items()}
        _report_losses(pouring, measured)
        demand = _demand(pouring, whole, measured)
        layouts = [
            layout(disk, device, image_size(disk, device, demand), demand.needed)
            for device in disk.devices
        ]
        images = {each.device.name: _write(pouring, each, contents) for each in layouts}
        _embed(images[layouts[0].device.name], layouts[0], blocks)
    return images


def _split(disk: Disk, place: Place) -> dict[str, Path]:
    """Move what lies below inner mount points aside, each into a tree of its own."""
    trees = {disk.root.name: place.tree}
    for fs in reversed(disk.mounted[1:]):
        inner = place.tree / fs.mount_point.lstrip("/")
        inner.mkdir(parents=True, exist_ok=True)
        trees[fs.name] = place.images / fs.name
        _move_aside(inner, trees[fs.name])
    empty = place.images / "empty"
    empty.mkdir()
    for fs in disk.filesystems:
        trees.setdefault(fs.name, empty)
    return trees


def _move_aside(inner: Path, aside: Path) -> None:
    """Leave an empty directory like the one that is moved, and the parent's times as they were."""
    status, parent = inner.stat(), inner.parent.stat()
    inner.rename(aside)
    inner.mkdir()
    os.chown(inner, status.st_uid, status.st_gid)
    shutil.copystat(aside, inner)
    os.utime(inner.parent, ns=(parent.st_atime_ns, parent.st_mtime_ns))


def _demand(pouring: Pouring, whole: Measured, measured: Mapping[str, Measured]) -> Demand:
    request = pouring.plan.request
    needed = {
        fs.name: registry.find("filesystems", fs.type).needed(fs, measured[fs.name])
        for fs in pouring.disk.filesystems
    }
    journal = request.journal_size if pouring.disk.root.type == "ext4" else 0
    return Demand(
        needed=needed,
        tree=whole.apparent,
        explicit=request.image_size,
        extra=request.extra_size,
        journal=journal,
    )


def _write(pouring: Pouring, planned: Layout, contents: Mapping[str, Path]) -> Path:
    image = pouring.place.images / f"{planned.device.name}.raw"
    with image.open("wb") as file:
        file.truncate(planned.size)
    for placed in planned.placed:
        fs: Filesystem = placed.filesystem
        registry.find("filesystems", fs.type).make(placed, contents[fs.name], image, pouring.run)
    _lay(image, planned.pieces)
    return image


def _embed(image: Path, planned: Layout, blocks: BootBlocks) -> None:
    if blocks.core and planned.embedding:
        with image.open("rb") as file:
            first = file.read(SECTOR)
        _lay(image, embed(blocks, first, *planned.embedding))


def _lay(image: Path, pieces: tuple[tuple[int, bytes], ...]) -> None:
    with image.open("r+b") as file:
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)


def _report_losses(pouring: Pouring, measured: Mapping[str, Measured]) -> None:
    for fs in pouring.disk.filesystems:
        for loss in registry.find("filesystems", fs.type).losses(fs, measured[fs.name]):
            pouring.listen(Said(f"{fs.type} on {fs.base}: {loss}", warning=True))


def first_device(disk: Disk) -> Device:
    """The device that becomes the output image: image0, or the only one."""
    named = [device for device in disk.devices if device.name == "image0"]
    return (named or list(disk.devices))[0]


def total(images: Mapping[str, Path]) -> Size:
    """How much room the images take."""
    return Size(sum(path.stat().st_blocks * SECTOR for path in images.values()))

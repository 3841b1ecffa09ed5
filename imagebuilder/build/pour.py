"""A finished tree becomes disk images: measured, laid out, poured; nothing is ever mounted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imagebuilder import registry
from imagebuilder.boot.grub_bios import embed
from imagebuilder.boot.model import BootBlocks
from imagebuilder.build.disk_file import lay, write
from imagebuilder.disk.image import Image
from imagebuilder.disk.layout import Demand, image_size, layout
from imagebuilder.disk.model import Device, Disk, Filesystem, Layout
from imagebuilder.errors import Interrupted
from imagebuilder.events import Finished, Listener, Said, Started, Step
from imagebuilder.filesystems.measure import Measured, measure
from imagebuilder.formats import assembled
from imagebuilder.hooks.place import Place
from imagebuilder.plan.model import Plan
from imagebuilder.process import Runner
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.isolate import detach_below
from imagebuilder.sandbox.kernel import Mount

SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Pouring:
    """What pouring needs to know."""

    plan: Plan
    place: Place
    run: Runner
    listen: Listener
    lay: Callable[[Layout], None]  # told where everything lies

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
    except Interrupted as error:
        status = error.exit_status
        raise
    finally:
        listen(Finished(step, status, time.monotonic() - begun))


@contextmanager
def poured(
    pouring: Pouring, blocks: BootBlocks, *, whole: bool
) -> Generator[Mapping[str, Image], None, None]:
    """Every device's image by its name, to be read in the context; in one file if `whole`."""
    disk, place = pouring.disk, pouring.place
    with ExitStack() as stack:
        with stage(pouring.listen, "pour"):
            contents = stack.enter_context(_contents(disk, place))
            layouts = _layouts(pouring, contents)
            images = {each.device.name: _write(pouring, each, contents) for each in layouts}
            embed_boot(images[layouts[0].device.name].file, layouts[0], blocks)
            if whole:
                images = {name: _filled(image) for name, image in images.items()}
        yield images


def _layouts(pouring: Pouring, contents: Mapping[str, Path]) -> list[Layout]:
    """Where everything goes on each device."""
    disk = pouring.disk
    measured = {name: measure(tree) for name, tree in contents.items()}
    _report_losses(pouring, measured)
    demand = _demand(pouring, measured)
    layouts = [
        layout(disk, device, image_size(disk, device, demand), demand.needed)
        for device in disk.devices
    ]
    for each in layouts:
        pouring.lay(each)
    return layouts


@contextmanager
def _contents(disk: Disk, place: Place) -> Generator[dict[str, Path], None, None]:
    """A view of the tree for each filesystem: empty where another one is mounted.

    The views are bind mounts in the builder's own mount namespace; the tree stays as it is.
    """
    views = {fs.name: place.images / f"view-{fs.name}" for fs in disk.filesystems}
    for view in views.values():
        view.mkdir()
    for fs in disk.mounted:
        point = place.tree / fs.mount_point.lstrip("/")
        _make_point(point)
        kernel.mount(str(point), views[fs.name], flags=Mount.BIND)
        kernel.mount("", views[fs.name], flags=Mount.PRIVATE)  # a mask shows in one view only
    for outer, inner, below in _nested(disk):
        mask = place.images / f"mask-{outer.name}-{inner.name}"
        _like(views[inner.name], mask)
        kernel.mount(str(mask), views[outer.name] / below, flags=Mount.BIND)
    try:
        yield views
    finally:
        detach_below(place.images)


def _make_point(point: Path) -> None:
    """Make a mount point that the tree lacks, of no time but the epoch's."""
    if point.is_dir():
        return
    _make_point(point.parent)
    status = point.parent.stat()
    point.mkdir()
    moment = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    os.utime(point, (moment, moment))
    os.utime(point.parent, ns=(status.st_atime_ns, status.st_mtime_ns))


def _nested(disk: Disk) -> Iterator[tuple[Filesystem, Filesystem, Path]]:
    """Each mounted filesystem with those mounted on it, and where they are in it."""
    points = {PurePosixPath(fs.mount_point): fs for fs in disk.mounted}
    for point, inner in points.items():
        on = next((parent for parent in point.parents if parent in points), None)
        if on is not None:
            yield points[on], inner, Path(point.relative_to(on))


def _like(directory: Path, empty: Path) -> None:
    """Make an empty directory with another's owner, mode, times and attributes."""
    empty.mkdir()
    status = directory.stat()
    os.chown(empty, status.st_uid, status.st_gid)
    shutil.copystat(directory, empty)


def _demand(pouring: Pouring, measured: Mapping[str, Measured]) -> Demand:
    request = pouring.plan.request
    needed = {
        fs.name: registry.find("filesystems", fs.type).needed(fs, measured[fs.name])
        for fs in pouring.disk.filesystems
    }
    journal = request.journal_size if pouring.disk.root.type == "ext4" else 0
    return Demand(
        needed=needed,
        tree=sum(each.apparent for each in measured.values()),
        explicit=request.image_size,
        extra=request.extra_size,
        journal=journal,
    )


def _write(pouring: Pouring, planned: Layout, contents: Mapping[str, Path]) -> Image:
    image = pouring.place.images / f"{planned.device.name}.raw"
    return write(planned, contents, image, pouring.run)


def _filled(image: Image) -> Image:
    return Image(file=assembled.whole(image))


def embed_boot(image: Path, planned: Layout, blocks: BootBlocks) -> None:
    """Write BIOS boot blocks, if there are any, into a disk with a place for them."""
    if blocks.core and planned.embedding:
        with image.open("rb") as file:
            first = file.read(SECTOR)
        lay(image, embed(blocks, first, *planned.embedding))


def _report_losses(pouring: Pouring, measured: Mapping[str, Measured]) -> None:
    for fs in pouring.disk.filesystems:
        for loss in registry.find("filesystems", fs.type).losses(fs, measured[fs.name]):
            pouring.listen(Said(f"{fs.type} on {fs.base}: {loss}", warning=True))


def first_device(disk: Disk) -> Device:
    """The device that becomes the output image: image0, or the only one."""
    named = [device for device in disk.devices if device.name == "image0"]
    return (named or list(disk.devices))[0]

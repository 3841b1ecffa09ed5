"""The poured disk as block devices, for elements whose last hooks want to see one.

Every partition is a loop device of its own at its offset, mounted where the tree was: hooks
change the disk itself. Devices clear themselves and mounts are in the builder's own namespace,
so that a killed builder leaves neither. A filesystem that the kernel does not have stays a
directory while hooks run, and is poured once more afterwards.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder import process, registry
from imagebuilder.boot.model import EMPTY, BootBlocks
from imagebuilder.build import disk_state
from imagebuilder.build.pour import Pouring, embed_boot, first_device, poured, stage
from imagebuilder.disk.image import Image
from imagebuilder.disk.model import Disk, Layout, Placed
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.filesystems import mounted
from imagebuilder.formats import assembled
from imagebuilder.sandbox import kernel, loops
from imagebuilder.sandbox.kernel import Mount
from imagebuilder.sandbox.loops import Part

NOT_TRIMMED = {"vfat"}


@dataclass(slots=True, kw_only=True)
class Attached:
    """A disk that is attached: what hooks are told, and how it becomes images again."""

    pouring: Pouring
    images: Mapping[str, Path]
    layouts: Sequence[Layout]
    devices: Mapping[str, Path]  # of disks, partitions and logical volumes, by name
    held: ExitStack

    @property
    def variables(self) -> dict[str, str]:
        """What hooks are told, in diskimage-builder's form."""
        pairs = "".join(f" [{name}]={device} " for name, device in self.devices.items())
        whole = self.devices[first_device(self.pouring.disk).name]
        return {"IMAGE_BLOCK_DEVICE": str(whole), "IMAGE_BLOCK_DEVICES": pairs}

    @property
    def names(self) -> tuple[str, ...]:
        """The devices' names in /dev."""
        return tuple(dict.fromkeys(device.name for device in self.devices.values()))

    @property
    def partial(self) -> bool:
        """Whether this kernel cannot mount one of its filesystems."""
        return not all(mounted.in_kernel(fs.type) for fs in self.pouring.disk.mounted)

    @property
    def points(self) -> tuple[Path, ...]:
        """Where its filesystems are in the tree, outermost first."""
        tree = self.pouring.place.tree
        return tuple(tree / fs.mount_point.lstrip("/") for fs in self.pouring.disk.mounted)

    @contextmanager
    def detached(self, blocks: BootBlocks) -> Generator[Mapping[str, Image], None, None]:
        """Write everything, detach, and give the images; raise BuildError if it is in use."""
        with stage(self.pouring.listen, "detach"):
            for placed in reversed(placed_mounts(self.pouring.disk, self.layouts)):
                self._leave(placed)
            self.held.close()
            embed_boot(self.images[self.layouts[0].device.name], self.layouts[0], blocks)
        yield {name: Image(file=file) for name, file in self.images.items()}

    def _leave(self, placed: Placed) -> None:
        fs = placed.filesystem
        point = self.pouring.place.tree / fs.mount_point.lstrip("/")
        if not mounted.in_kernel(fs.type):
            loops.discard(self.devices[fs.base])
            image = self.images[_device_of(self.layouts, fs.base)]
            module = registry.find("filesystems", fs.type)
            elsewhere = module.make(placed, point, image, self.pouring.run) or ()
            assembled.whole(Image(file=image, borrowed=tuple(sorted(elsewhere))))
        elif fs.type not in NOT_TRIMMED:
            with suppress(OSError):  # a device that cannot discard
                kernel.trim(point)
        kernel.leave(point, fs.mount_point, where="detaching")


def check(disk: Disk, why: str) -> None:
    """Raise ToolMissingError if this host cannot attach the disk."""
    reason = mounted.obstacle(disk.root.type)
    if reason:
        raise ToolMissingError(
            f"the disk cannot be attached: {reason}",
            hint=f"{why}; build as root on a host with loop devices",
        )


@contextmanager
def attach(pouring: Pouring) -> Generator[Attached, None, None]:
    """Pour the tree and mount the disk in its place, until it is finished or given up."""
    layouts: list[Layout] = []

    def lay(layout: Layout) -> None:
        layouts.append(layout)
        pouring.lay(layout)

    with poured(replace(pouring, lay=lay), EMPTY, whole=True) as made:
        images = {name: image.file for name, image in made.items()}
    with ExitStack() as held, stage(pouring.listen, "attach"):
        if any(fs.type == "btrfs" for fs in pouring.disk.filesystems):
            held.enter_context(loops.turn())
        devices = {
            name: held.enter_context(loops.attached(part))
            for layout in layouts
            for name, part in parts(layout, images[layout.device.name])
        }
        _mount(pouring, layouts, devices)
        state = disk_state.describe(pouring.disk, images, devices, pouring.place.tree)
        asked = disk_state.parameters(pouring.place.disk_parameters)
        disk_state.write(asked, {**state, "owner": disk_state.BUILD})
        attached = Attached(
            pouring=pouring, images=images, layouts=layouts, devices=devices, held=held.pop_all()
        )
    with attached.held:
        yield attached


def _mount(pouring: Pouring, layouts: Sequence[Layout], devices: Mapping[str, Path]) -> None:
    place = pouring.place
    below = place.images / "tree"
    below.mkdir()
    kernel.mount(str(place.tree), below, flags=Mount.BIND)
    kernel.mount("", below, flags=Mount.PRIVATE)  # what is mounted on the tree stays off it
    for placed in placed_mounts(pouring.disk, layouts):
        fs = placed.filesystem
        point = place.tree / fs.mount_point.lstrip("/")
        if mounted.in_kernel(fs.type):
            options = mounted.options(fs.type)
            kernel.mount(str(devices[fs.base]), point, fs.type, options=options)
        else:
            kernel.mount("tmpfs", point, "tmpfs", options="mode=755")
            process.run(mounted.copy(below / fs.mount_point.lstrip("/"), point))
    kernel.unmount(below)
    below.rmdir()


def placed_mounts(disk: Disk, layouts: Sequence[Layout]) -> list[Placed]:
    """The mounted filesystems with their places, outermost first."""
    places = {each.filesystem.name: each for layout in layouts for each in layout.placed}
    found = [places[fs.name] for fs in disk.mounted]
    for placed in found:
        if placed.apart:
            raise ConfigError(
                "a logical volume in several pieces cannot be attached",
                where=f"filesystem {placed.filesystem.name}",
                hint="give its volume group one physical volume",
            )
    return found


def parts(layout: Layout, image: Path) -> Iterator[tuple[str, Part]]:
    """The device, its partitions, and what has a filesystem and is none: logical volumes."""
    sector = layout.device.sector
    yield layout.device.name, Part(file=image, sector=sector, shown=True)
    named = {slot.name: (slot.offset, slot.size) for slot in layout.slots}
    placed = {p.filesystem.base: (p.offset, p.size) for p in layout.placed if not p.apart}
    for name, (offset, size) in (named | placed).items():
        if name != layout.device.name:
            yield name, Part(file=image, offset=offset, size=size, sector=sector, shown=True)


def _device_of(layouts: Sequence[Layout], base: str) -> str:
    return next(
        layout.device.name
        for layout in layouts
        if base in {placed.filesystem.base for placed in layout.placed}
    )

"""A disk image that is there already takes the place of the tree: hooks change it where it lies.

A raw copy of the disk is made in the scratch directory, only of what it has in it. Its
filesystems are mounted in the tree's place, from before the first phase until after the last,
in the builder's own mount namespace. Then the copy is converted like any disk. Partition
table, boot blocks, labels and UUIDs are not touched by anybody, and so stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imagebuilder import paths, process
from imagebuilder.build import finish
from imagebuilder.build.beside import Beside
from imagebuilder.build.pour import first_device, stage
from imagebuilder.disk import probe
from imagebuilder.disk.image import Image, Packed
from imagebuilder.disk.model import Table
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.events import Listener, Said
from imagebuilder.existing import attach, grow, overlay, release, source
from imagebuilder.existing.attach import Opened, Opening
from imagebuilder.filesystems import mounted
from imagebuilder.hooks.place import Place
from imagebuilder.plan.model import Draft
from imagebuilder.sandbox.isolate import part

RAW = "existing.raw"
AHEAD = 1 << 17  # bytes: of a longer range only the beginning would be read
SHELLS = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash")
TABLES = {Table.GPT: "gpt", Table.MBR: "msdos", None: "none"}


@dataclass(slots=True, kw_only=True)
class ExistingDisk:
    """The open disk: what hooks are told about it, and how it becomes an image again."""

    draft: Draft
    opened: Opened
    listen: Listener
    since: int  # nanoseconds: what was changed later was changed by this build
    packed: Callable[[], Packed | None]  # what of it is compressed already
    ahead: Beside[None]  # reads what will be wanted

    @property
    def variables(self) -> Mapping[str, str]:
        """What hooks that want to see a disk are told, in diskimage-builder's form."""
        devices = {"image0": self.opened.whole} | {
            area.device: device for area, device in self.opened.devices.items()
        }
        pairs = "".join(f" [{name}]={device} " for name, device in devices.items())
        return {"IMAGE_BLOCK_DEVICE": str(self.opened.whole), "IMAGE_BLOCK_DEVICES": pairs}

    @property
    def names(self) -> tuple[str, ...]:
        """The devices' names in /dev."""
        devices = (self.opened.whole, *self.opened.devices.values())
        return tuple(dict.fromkeys(device.name for device in devices))

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """The names by which programs look for them."""
        return tuple(attach.device_links(self.opened))

    @property
    def points(self) -> tuple[Path, ...]:
        """Where its filesystems are mounted, outermost first."""
        return tuple(point for _, point in self.opened.mounted)

    def clamp_times(self, epoch: int) -> None:
        """Make nothing that this build has changed younger than `epoch` (seconds)."""
        with stage(self.listen, "times"):
            finish.clamp_times(self.opened.opening.tree, epoch, since=self.since)

    @contextmanager
    def detached(self) -> Generator[Mapping[str, Image], None, None]:
        """Write everything, unmount, and give the image; raise BuildError if it is in use."""
        with stage(self.listen, "close"):
            self.ahead.stop()
            self.opened.close()
            packed = self.packed()
        name = first_device(self.draft.disk).name
        yield {name: Image(file=self.opened.opening.raw, packed=packed)}


def check(draft: Draft) -> None:
    """Raise ToolMissingError or ConfigError if the image cannot be opened here."""
    if draft.existing is None:
        return
    reason = mounted.obstacle("ext4")
    if reason:
        raise ToolMissingError(
            f"the image cannot be opened: {reason}",
            where=str(draft.existing),
            hint="build as root on a host with loop devices",
        )
    if not source.compressor(draft.existing):
        told = source.inspect(draft.existing, process.run)
        wanted = draft.request.image_size
        if wanted is not None and wanted < told.size:
            raise ConfigError(
                f"the image is larger than that: {told.size}",
                where="--image-size",
                hint="a disk that is there can grow, not shrink",
            )


@contextmanager
def opened(
    draft: Draft, place: Place, listen: Listener
) -> Generator[ExistingDisk | None, None, None]:
    """The disk that the build changes, mounted in the tree's place; None if it makes a new one."""
    if draft.existing is None:
        yield None
        return
    raw, size = place.images / RAW, draft.request.image_size
    with ExitStack() as held:
        with stage(listen, "open"), source.blamed(draft.existing, raw):
            packed, wanted = held.enter_context(_read(draft, raw))
            grown = grow.enlarge(raw, size, process.run) if size is not None else None
            opening = Opening(raw=raw, tree=place.tree, scratch=place.scratch, run=process.run)
            disk = held.enter_context(attach.opened(opening))
            _check_system(place.tree)
            if grown is not None:
                grow.fill(disk, grown, process.run)
        for what in disk.missing:
            listen(Said(f"{what} is not there, and not mounted", warning=True))
        now = time.time_ns()
        ahead = held.enter_context(Beside(partial(_read_ahead, place.tree, wanted)))
        yield ExistingDisk(
            draft=draft, opened=disk, listen=listen, since=now, packed=packed, ahead=ahead
        )


def _read_ahead(tree: Path, image: Path | None) -> None:
    """Have the kernel know what later steps ask for, with what processor time nobody else wants.

    Every inode is looked at in the end, and all of the `image` is copied.
    """
    part()  # what is mounted here keeps nobody else from unmounting it
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    for _ in finish.walk(tree):
        pass
    if image is None:
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with image.open("rb") as file:
        for start in range(0, min(image.stat().st_size, memory // 4), AHEAD):
            os.posix_fadvise(file.fileno(), start, AHEAD, os.POSIX_FADV_WILLNEED)


def _check_system(tree: Path) -> None:
    if not any(paths.exists_in(tree, name) for name in SHELLS):
        raise ConfigError(
            "the system in it has no bash, which runs the hooks",
            hint="Debian, Ubuntu and others with apt can be changed",
        )


def told(draft: Draft, disk: ExistingDisk | None) -> Draft:
    """The draft with what is known of the disk only when it is open."""
    if disk is None:
        return draft
    return replace(draft, variables={**draft.variables, **_facts(draft, disk)})


@contextmanager
def _read(
    draft: Draft, raw: Path
) -> Generator[tuple[Callable[[], Packed | None], Path | None], None, None]:
    """The image's disk as the file `raw`.

    What is given says what of it is compressed already, and which file then has to be read.
    """
    image = draft.existing
    assert image
    with ExitStack() as held:
        if _is_to_be_packed(draft) and not source.compressor(image):
            source.inspect(image, process.run)
            source.check_complete(image, process.run)
            lent = held.enter_context(overlay.opened(image, raw, process.run))
            if lent:
                part()  # or it may be the daemon that unmounts, when it dies, what it serves
                yield lent.packed, image
                return
        packed = source.write_raw(image, raw, process.run)
        if packed:
            file = held.enter_context(image.open("rb", buffering=0))
            packed = replace(packed, file=Path(f"/proc/self/fd/{file.fileno()}"))
        yield (lambda: packed), image if packed else None


def _is_to_be_packed(draft: Draft) -> bool:
    """Whether the disk becomes a compressed qcow2 of its size, and nothing else."""
    request = draft.request
    plain = request.uncompressed or request.qemu_img_options or request.image_size is not None
    return draft.types == ("qcow2",) and not plain


def _facts(draft: Draft, disk: ExistingDisk) -> Mapping[str, str]:
    """What the disk says of itself; what the caller says of its system counts for more."""
    found = disk.opened
    root = found.root.content
    labels = {m.point: m.area.content.label for m, _ in found.mounted if m.area.content}
    system, table = release.load(found.opening.tree), TABLES[found.contents.table]
    rows = [
        probe.row(m.point, m.area.content.type, m.area.content.uuid, ("", table, labels[m.point]))
        for m, _ in found.mounted
        if m.area.content
    ]
    return {
        **{key: value for key, value in system.items() if not draft.variables.get(key)},
        "DIB_BOOT_LABEL": labels.get("/boot", ""),
        "DIB_MOUNTPOINTS": "|".join(mounting.point for mounting, _ in found.mounted),
        "DIB_ROOT_FSTYPE": root.type if root else "",
        "DIB_ROOT_LABEL": root.label if root else "",
        "IMAGEBUILDER_FILESYSTEMS": "\n".join(rows),
        "IMAGEBUILDER_PARTITION_TABLE": table,
        "IMAGEBUILDER_ROOT_UUID": root.uuid if root else "",
    }

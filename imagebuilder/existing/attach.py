"""The filesystems of a raw disk as one tree, each on a loop device at its offset.

Needs a mount namespace of the caller's own. The devices clear themselves, so that a caller who is
killed leaves neither mounts nor devices.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder import paths, process
from imagebuilder.errors import ConfigError
from imagebuilder.existing import ext, mounts, table, vfat
from imagebuilder.existing.model import Area, Contents, Mounting
from imagebuilder.existing.release import OS_RELEASE
from imagebuilder.process import Runner
from imagebuilder.sandbox import kernel, loops
from imagebuilder.sandbox.kernel import Mount
from imagebuilder.sandbox.loops import Part

OPTIONS: Mapping[str, str] = {"xfs": "nouuid", "ext4": "noinit_itable"}
UNTRUSTED = Mount.READ_ONLY | Mount.NO_SUID | Mount.NO_DEV | Mount.NO_EXEC
NEVER_WRITTEN = ("squashfs", "erofs")
BTRFS_ROOTS = ("@", "root", "@rootfs")  # openSUSE and Ubuntu, Fedora, Debian's installer


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is opened, and where: the disk in `raw` at the empty directory `tree`.

    `scratch` is a directory for mount points that are needed for a moment.
    """

    raw: Path
    tree: Path
    scratch: Path
    run: Runner = process.run
    read_only: bool = False

    @property
    def flags(self) -> Mount:
        """How its filesystems are mounted."""
        return UNTRUSTED if self.read_only else Mount.NO_DEV


@dataclass(slots=True, kw_only=True)
class Opened:
    """A disk that is open: what is mounted where, the root first."""

    opening: Opening
    contents: Contents
    devices: Mapping[Area, Path]
    whole: Path  # the device of the whole disk
    mounted: list[tuple[Mounting, Path]] = field(default_factory=list)
    listings: dict[str, vfat.Listing] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def root(self) -> Area:
        """Where the root filesystem is."""
        return self.mounted[0][0].area

    def close(self) -> None:
        """Write everything, and unmount; raise BuildError if something is in use."""
        while self.mounted:
            mounting, point = self.mounted.pop()
            _leave(self, mounting, point)


@contextmanager
def opened(opening: Opening) -> Generator[Opened, None, None]:
    """The open disk; leaving it without `close` drops its mounts. Raise ConfigError or OSError."""
    contents = table.load(opening.raw)
    with ExitStack() as held:
        whole = held.enter_context(loops.attached(_part(opening, contents, None)))
        devices = {
            area: held.enter_context(loops.attached(_part(opening, contents, area)))
            if area.number
            else whole
            for area in contents.areas
        }
        disk = Opened(opening=opening, contents=contents, devices=devices, whole=whole)
        try:
            _mount_all(disk)
            yield disk
        finally:
            _drop(disk)


def device_links(disk: Opened) -> Iterator[tuple[str, str]]:
    """The names below /dev/disk by which programs look for filesystems, and what they lead to."""
    for area, device in disk.devices.items():
        if area.content and area.content.uuid:
            yield f"disk/by-uuid/{area.content.uuid}", f"../../{device.name}"
        if area.uuid:
            yield f"disk/by-partuuid/{area.uuid}", f"../../{device.name}"


def _part(opening: Opening, contents: Contents, area: Area | None) -> Part:
    return Part(
        file=opening.raw,
        offset=area.offset if area else 0,
        size=area.size if area else 0,
        sector=contents.sector,
        shown=not opening.read_only,
        read_only=opening.read_only,
    )


def _mount_all(disk: Opened) -> None:
    opening = disk.opening
    root = _find_root(disk)
    _mount(disk, root, opening.tree)
    disk.mounted.append((root, opening.tree))
    text = _text_in(opening.tree, "/etc/fstab")
    wanted, disk.missing = mounts.plan(root.area, disk.contents.areas, text)
    for mounting in wanted:
        point = _point_in(opening.tree, mounting.point)
        if point is None:
            disk.missing.append(f"{mounting.area} on {mounting.point}")
            continue
        _mount(disk, mounting, point)
        disk.mounted.append((mounting, point))


def _find_root(disk: Opened) -> Mounting:
    """The filesystem with an operating system in it; raise ConfigError if there is none."""
    look = disk.opening.scratch / "look"
    look.mkdir(exist_ok=True)
    for area in mounts.candidates(disk.contents.areas):
        for subvolume in (
            "",
            *(BTRFS_ROOTS if area.content and area.content.type == "btrfs" else ()),
        ):
            candidate = Mounting(area=area, point="/", subvolume=subvolume)
            if _is_root(disk, candidate, look):
                return candidate
    raise ConfigError(
        f"no root filesystem is found: {_described(disk.contents)}",
        where=str(disk.opening.raw),
        hint="ext2 to ext4, xfs and btrfs on partitions or on the whole disk can be opened",
    )


def _is_root(disk: Opened, candidate: Mounting, look: Path) -> bool:
    try:
        _mount(disk, candidate, look)
    except ConfigError:
        if not candidate.subvolume:
            raise
        return False
    try:
        return any(paths.exists_in(look, name) for name in OS_RELEASE) or (
            paths.exists_in(look, "/etc/fstab") and paths.exists_in(look, "/bin/sh")
        )
    finally:
        kernel.unmount(look)


def _described(contents: Contents) -> str:
    found = [f"{a} is {a.content.type}" for a in contents.areas if a.content]
    return ", ".join(found) or "nothing on it is known"


def _mount(disk: Opened, mounting: Mounting, point: Path) -> None:
    opening, area = disk.opening, mounting.area
    kind = area.content.type if area.content else ""
    if kind == "vfat":
        kernel.mount("tmpfs", point, "tmpfs", options="mode=755")
        disk.listings[mounting.point] = vfat.read(opening.raw, area, point, opening.run)
        return
    if kind in NEVER_WRITTEN and not opening.read_only:
        raise ConfigError(f"{area} is {kind}, which cannot be changed in its place")
    options = [OPTIONS[kind]] if kind in OPTIONS else []
    if mounting.subvolume:
        options.append(f"subvol={mounting.subvolume}")
    try:
        kernel.mount(str(disk.devices[area]), point, kind, opening.flags, ",".join(options))
    except OSError as error:
        if opening.read_only and error.errno in (errno.EROFS, errno.EINVAL, errno.EIO):
            raise  # it may have a journal to be replayed, which needs a copy
        raise _unmountable(area, kind, error) from error


def _unmountable(area: Area, kind: str, error: OSError) -> ConfigError:
    if error.errno == errno.ENODEV:
        return ConfigError(
            f"{area} is {kind}, which this kernel does not have",
            hint="use another host, or load the kernel's module",
        )
    return ConfigError(
        f"{area} ({kind}) cannot be mounted: {os.strerror(error.errno or 0)}",
        hint="the filesystem is damaged, or newer than this kernel",
    )


def _point_in(tree: Path, point: str) -> Path | None:
    """The directory that `point` is in the tree, wherever its symlinks lead; None without one."""
    try:
        fd = paths.open_in(tree, point, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)


def _text_in(tree: Path, name: str) -> str:
    try:
        return paths.read_in(tree, name).decode(errors="replace")
    except OSError:
        return ""


def _leave(disk: Opened, mounting: Mounting, point: Path) -> None:
    opening, area = disk.opening, mounting.area
    kind = area.content.type if area.content else ""
    if not opening.read_only and kind == "vfat":
        vfat.write(opening.raw, area, point, disk.listings[mounting.point], opening.run)
    elif not opening.read_only:
        with suppress(OSError):  # a device that cannot discard
            kernel.trim(point)
    kernel.leave(point, mounting.point, where="closing the image")
    if not opening.read_only and kind.startswith("ext"):
        ext.restore(opening.raw, area, mounting.point, opening.run)


def _drop(disk: Opened) -> None:
    while disk.mounted:
        with suppress(OSError):
            kernel.unmount(disk.mounted.pop()[1])

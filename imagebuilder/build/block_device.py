"""The actions of `dib-block-device`: a disk of its own, made and mounted for whoever asks.

Builds do not work this way. It is here for scripts that call diskimage-builder's helper, and
what it makes stays attached until `umount`, as it does there.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from imagebuilder import paths
from imagebuilder.build import disk_file, disk_state
from imagebuilder.build.attach import parts, placed_mounts
from imagebuilder.build.disk_state import BUILD, Parameters
from imagebuilder.disk.fstab import fstab
from imagebuilder.disk.layout import layout
from imagebuilder.disk.model import Device, Disk, Layout
from imagebuilder.errors import BuildError, ConfigError, ToolMissingError
from imagebuilder.filesystems import mounted
from imagebuilder.process import run
from imagebuilder.sandbox import kernel, loops


def create(given: Parameters) -> None:
    """Make image files with empty filesystems, attach them, and mount them below mount-base."""
    disk = given.disk
    _check(given, disk)
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    with ExitStack() as undo:
        images: dict[str, Path] = {}
        devices: dict[str, Path] = {}
        layouts = [_lay_out(given, disk, device) for device in disk.devices]
        for planned in layouts:
            image = given.image_dir / f"{planned.device.name}.raw"
            images[planned.device.name] = image
            undo.callback(image.unlink, missing_ok=True)
            _write(disk, planned, image)
            for name, part in parts(planned, image):
                devices[name] = loops.keep(part)
                undo.callback(loops.detach, devices[name])
        for placed in placed_mounts(disk, layouts):
            fs = placed.filesystem
            point = given.mount_base / fs.mount_point.lstrip("/")
            _mount(devices[fs.base], point, fs.type)
            undo.callback(kernel.unmount, point)
        disk_state.write(given, disk_state.describe(disk, images, devices, given.mount_base))
        undo.pop_all()


def write_fstab(given: Parameters) -> None:
    """Write `fstab` beside the state, and into the tree at `built` (or `mnt`) of build-dir."""
    disk_state.read(given)
    text = fstab(given.disk).encode()
    (given.directory / "fstab").write_bytes(text)
    trees = [given.build_dir / name for name in ("built", "mnt")]
    for tree in [tree for tree in trees if tree.is_dir()][:1]:
        paths.write_in(tree, "/etc/fstab", text)


def umount(given: Parameters) -> None:
    """Unmount and detach what `create` left; nothing happens if there is nothing."""
    try:
        state = disk_state.read(given)
    except ConfigError:
        return
    _check_owner(state.get("owner", ""))
    for point in reversed(state.pop("mount_order", [])):
        if point != "none":
            _unmount(Path(state["mount"][point]["path"]), point)
    for about in reversed(state["blockdev"].values()):
        if about.pop("attached", True):
            with suppress(FileNotFoundError):
                loops.detach(Path(about["device"]))
        about["attached"] = False
    disk_state.write(given, state)


def cleanup(given: Parameters) -> None:
    """Forget the disk; its image files stay."""
    _check_owner(disk_state.read(given).get("owner", ""))
    shutil.rmtree(given.directory)


def delete(given: Parameters) -> None:
    """Unmount, detach, and remove the image files."""
    state = disk_state.read(given)
    umount(given)
    for about in state["blockdev"].values():
        if "image" in about:
            Path(about["image"]).unlink(missing_ok=True)
    shutil.rmtree(given.directory)


def _check(given: Parameters, disk: Disk) -> None:
    if (given.directory / "state.json").exists():
        _check_owner(disk_state.read(given).get("owner", ""))
        raise ConfigError(
            "the disk is there already", where=str(given.directory), hint="'delete' removes it"
        )
    for fs in disk.mounted:
        reason = mounted.obstacle(fs.type)
        if reason:
            raise ToolMissingError(f"{fs.mount_point} cannot be mounted: {reason}")


def _check_owner(owner: str) -> None:
    if owner == BUILD:
        raise ConfigError(
            "the disk belongs to the build that is running", hint="the build makes and detaches it"
        )


def _lay_out(given: Parameters, disk: Disk, device: Device) -> Layout:
    size = device.size or given.image_size
    if size is None:
        raise ConfigError("no size is given", where=device.name, hint="set image-size")
    return layout(disk, device, size, {})


def _write(disk: Disk, planned: Layout, image: Path) -> None:
    with tempfile.TemporaryDirectory() as empty:
        directory = Path(empty)
        directory.chmod(0o755)
        disk_file.write(planned, {fs.name: directory for fs in disk.filesystems}, image, run)


def _mount(device: Path, point: Path, kind: str) -> None:
    try:
        point.mkdir(parents=True, exist_ok=True)
        kernel.mount(str(device), point, kind, options=mounted.options(kind))
    except OSError as error:
        raise BuildError(f"cannot be mounted: {error.strerror}", where=str(point)) from error


def _unmount(path: Path, point: str) -> None:
    try:
        with suppress(OSError):
            kernel.trim(path)
        kernel.unmount(path, busy=False)
    except OSError as error:
        if error.errno == errno.EINVAL:  # somebody has done it already
            return
        raise BuildError(f"{point} is still in use", where=str(path)) from error

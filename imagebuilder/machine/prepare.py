"""What a machine needs on the host before it starts: overlay, firmware, control socket."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagebuilder import given
from imagebuilder.errors import ConfigError
from imagebuilder.machine import firmware
from imagebuilder.machine.model import Drive, Firmware, Machine, Medium, Parts, Rom
from imagebuilder.process import Command, Runner
from imagebuilder.sizes import Size

MAGIC: Mapping[str, bytes] = {
    "qcow2": b"QFI\xfb",
    "vmdk": b"KDMV",
    "vhdx": b"vhdxfile",
    "vpc": b"conectix",
}


def image_format(image: Path) -> str:
    """The format of a disk image by its first bytes, as qemu calls it; raise ConfigError."""
    try:
        given.check_file(image)
        with image.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(image)) from error
    return next((name for name, magic in MAGIC.items() if start.startswith(magic)), "raw")


def prepare(machine: Machine, directory: Path, run: Runner) -> Parts:
    """Make what `machine` needs, in `directory` unless it is to be kept."""
    first = _disk(machine, directory, run)
    others = [Drive(file=disk, format=image_format(disk), snapshot=True) for disk in machine.disks]
    if machine.seed:
        others.append(Drive(file=machine.seed, format="raw", readonly=True))
    return Parts(
        drives=(first, *others), rom=_rom(machine, directory), control=directory / "control"
    )


def _disk(machine: Machine, directory: Path, run: Runner) -> Drive:
    kind = image_format(machine.image)
    if machine.medium is Medium.CD:
        return Drive(file=machine.image, format=kind, readonly=True, medium=Medium.CD)
    if machine.medium is Medium.USB:
        return Drive(file=machine.image, format=kind, snapshot=True, medium=Medium.USB)
    if machine.overlay is None and machine.disk_size is None:
        return Drive(file=machine.image, format=kind, snapshot=machine.snapshot)
    overlay = machine.overlay or directory / "disk.qcow2"
    if overlay.exists():
        _check_overlay(machine, overlay, run)
    else:
        _check_size(machine, run)
        run(_create(machine, overlay, kind))
    return Drive(file=overlay, format="qcow2")


def _create(machine: Machine, overlay: Path, kind: str) -> Command:
    size = (str(int(machine.disk_size)),) if machine.disk_size else ()
    return Command((
        "qemu-img", "create", "-q", "-f", "qcow2",
        "-F", kind,
        "-b", str(machine.image.absolute()),
        os.fspath(overlay),
        *size,
    ))  # fmt: skip


def _check_size(machine: Machine, run: Runner) -> None:
    if machine.disk_size is None:
        return
    size = Size(_described(machine.image, run)["virtual-size"])
    if machine.disk_size < size:
        raise ConfigError(
            f"a disk of {machine.disk_size} cannot hold the image, whose disk has {size}",
            where=str(machine.image),
            hint="ask for a larger disk, or for none to get the image's own size",
        )


def _check_overlay(machine: Machine, overlay: Path, run: Runner) -> None:
    described = _described(overlay, run)
    backing = described.get("full-backing-filename", "")
    if not backing or not Path(backing).exists() or not machine.image.samefile(backing):
        raise ConfigError(
            f"is an overlay of {backing or 'nothing'}, not of {machine.image}",
            where=str(overlay),
            hint="remove it, or name another file, to start from the image",
        )
    if machine.disk_size and machine.disk_size != described["virtual-size"]:
        raise ConfigError(
            f"has a disk of {Size(described['virtual-size'])} already, not of {machine.disk_size}",
            where=str(overlay),
            hint="the size is chosen when the overlay is made; remove it, or name another file",
        )


def _described(image: Path, run: Runner) -> dict[str, Any]:
    told = run(Command(("qemu-img", "info", "--output=json", os.fspath(image)))).output
    described = json.loads(told)
    assert isinstance(described, dict)
    return described


def _rom(machine: Machine, directory: Path) -> Rom | None:
    if machine.firmware is Firmware.BIOS:
        return None
    rom = firmware.find(machine.architecture.name, machine.firmware)
    kept = machine.overlay
    variables = kept.with_name(f"{kept.name}.nvram") if kept else directory / "nvram"
    return firmware.own(rom, variables)

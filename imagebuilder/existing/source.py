"""Gets at the raw disk in an image file of any format that qemu-img knows.

A file of an unknown format may name other files to be read along with it. One that does is
refused: it could have any file of this host copied into an image.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.disk.image import Packed
from imagebuilder.errors import CommandError, ConfigError, SpaceError
from imagebuilder.existing import qcow2
from imagebuilder.process import Command, Runner, reading
from imagebuilder.sizes import Size

FULL = "No space left on device"
IN_FLIGHT = 16  # requests at once; the most that qemu-img takes
ELSEWHERE = ("backing-filename", "full-backing-filename")
LEVEL1_AT, LEVEL1 = 36, struct.Struct(">IQ")  # QEMU, docs/interop/qcow2.rst: l1_size and after it
ONLY_LEAKS = 3  # qemu-img check: clusters that nobody uses
COMPRESSED = ((b"\xfd7zXZ\0", "xz"), (b"\x1f\x8b", "gzip"), (b"(\xb5/\xfd", "zstd"))


@contextmanager
def blamed(image: Path, raw: Path) -> Generator[None, None, None]:
    """Have errors about the copy `raw`, and those that name no file, name the image of the user."""
    try:
        yield
    except ConfigError as error:
        if error.where in {"", str(raw)}:
            error.where = str(image)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What qemu-img says of an image file."""

    format: str
    size: Size  # of the disk


def inspect(image: Path, run: Runner) -> Info:
    """The format and the size of the disk in `image`; raise ConfigError if it cannot be opened."""
    if not image.is_file():
        raise ConfigError("there is no such file", where=str(image), hint="name a disk image")
    try:
        answer = run(Command(("qemu-img", "info", "--output=json", os.fspath(image.absolute()))))
        told = json.loads(answer.output)
    except CommandError as error:
        raise ConfigError(
            f"cannot be opened: {error.what.splitlines()[-1]}",
            where=str(image),
            hint="a disk image is needed: raw, qcow2, vmdk, vhdx or vdi",
        ) from error
    if told.get("encrypted"):
        raise ConfigError(
            "is encrypted",
            where=str(image),
            hint="take its encryption away first: qemu-img convert --object secret,...",
        )
    data = (told.get("format-specific") or {}).get("data") or {}
    other = next((told[key] for key in ELSEWHERE if told.get(key)), data.get("data-file", ""))
    if other:
        raise ConfigError(
            f"has part of its content in another file: {other}",
            where=str(image),
            hint="make one file of it first: qemu-img convert -O qcow2 IMAGE WHOLE",
        )
    return Info(format=told["format"], size=Size(told["virtual-size"]))


def write_raw(image: Path, target: Path, run: Runner) -> Packed | None:
    """Write the disk in `image` as the raw file `target`, with holes; raise SpaceError.

    Return what clusters of a qcow2 file are compressed to, where that is known.
    """
    packer = compressor(image)
    if packer:
        unpacked = target.with_name(f"{target.name}.unpacked")
        unpack(image, unpacked, packer)
        write_raw(unpacked, target, run)
        unpacked.unlink()
        return None
    told = inspect(image, run)
    try:
        if told.format == "qcow2":
            check_complete(image, run)
            with qcow2.opened(image) as file:
                if file and (unpack_cluster := qcow2.find_unpacker(file)):
                    packed = qcow2.write_raw(file, target, unpack_cluster)
                    return packed if qcow2.is_compressed(file) else None
        run(_copy(image, target) if told.format == "raw" else _convert(image, target, told))
    except CommandError as error:
        if FULL not in error.what:
            raise ConfigError(
                f"cannot be read: {error.what.splitlines()[-1]}",
                where=str(image),
                hint="the file is damaged or not complete; 'qemu-img check' says more",
            ) from error
        raise _no_room(told, target) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _no_room(told, target) from error
    return None


def _no_room(told: Info, target: Path) -> SpaceError:
    return SpaceError(
        f"no room for the disk of {told.size}",
        where=str(target.parent),
        hint="set TMPDIR to a larger place, or build with --no-tmpfs",
    )


def check_complete(image: Path, run: Runner) -> None:
    """Raise ConfigError for a qcow2 that breaks off: qemu-img reads zeros where there is nothing.

    It finds clusters that lie beyond the end, but not that the table of all tables does.
    """
    with image.open("rb") as file:
        entries, start = LEVEL1.unpack_from(file.read(LEVEL1_AT + LEVEL1.size), LEVEL1_AT)
    found = "its first table lies beyond its end"
    if start + 8 * entries <= image.stat().st_size:
        try:
            run(Command(("qemu-img", "check", "-q", "-f", "qcow2", os.fspath(image.absolute()))))
        except CommandError as error:
            if error.what.startswith(f"exit status {ONLY_LEAKS}\n"):
                return
            found = error.what.splitlines()[1 if "\n" in error.what else 0]
        else:
            return
    raise ConfigError(
        f"is damaged: {found}",
        where=str(image),
        hint="the file may not be complete; copy or download it again",
    )


def compressor(image: Path) -> str:
    """The program that unpacks a compressed `image`; nothing if it is not compressed."""
    if not image.is_file():
        return ""
    with image.open("rb") as file:
        head = file.read(8)
    return next((name for mark, name in COMPRESSED if head.startswith(mark)), "")


def unpack(image: Path, target: Path, packer: str) -> None:
    """Unpack `image` into `target`; raise ConfigError if it is damaged."""
    command = Command((packer, "--decompress", "--stdout", os.fspath(image.absolute())))
    try:
        with reading(command) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
    except CommandError as error:
        raise ConfigError(
            f"cannot be unpacked: {error.what.splitlines()[-1]}",
            where=str(image),
            hint="the file is damaged or not complete; copy or download it again",
        ) from error


def _copy(image: Path, target: Path) -> Command:
    return Command(("cp", "--sparse=always", os.fspath(image.absolute()), os.fspath(target)))


def _convert(image: Path, target: Path, told: Info) -> Command:
    return Command((
        "qemu-img", "convert",
        "-f", told.format,
        "-O", "raw",
        "-m", str(IN_FLIGHT), "-W",
        os.fspath(image.absolute()),
        os.fspath(target),
    ))  # fmt: skip

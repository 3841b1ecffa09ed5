"""Parts of a file as block devices, which the kernel takes back whatever becomes of us.

`LOOP_CONFIGURE` (Linux 5.8) sets offset, length and autoclear in one call: there is no moment
at which a device is set up and would stay. It goes when nobody has it open or mounted any more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import ToolMissingError

CONTROL = Path("/dev/loop-control")
ADD, GET_FREE, CONFIGURE = 0x4C80, 0x4C82, 0x4C0A  # linux/loop.h
GET_STATUS, CLEAR = 0x4C05, 0x4C01
DISCARD = 0x1277  # linux/fs.h, BLKDISCARD
READ_ONLY, AUTOCLEAR = 1, 4
SHOWN = 16
TRIES = 64  # somebody else may be quicker to take a free device
INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
CONFIG = struct.Struct(f"=II{INFO.size}s64x")  # struct loop_config
PROBE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a file: `size` bytes from `offset` (0: all the rest), in sectors of `sector`.

    `shown` to hooks: its device has a number of two digits if there is one. What GRUB's scripts
    take for a file with a disk in it, which they put into the menu, is `/dev/loop[0-9]`.
    """

    file: Path
    offset: int = 0
    size: int = 0
    sector: int = 512
    shown: bool = False
    read_only: bool = False


@contextmanager
def attached(part: Part) -> Generator[Path, None, None]:
    """The device that shows `part`, until it is left; raise ToolMissingError if there is none."""
    fd, device = _attach(part)
    try:
        yield device
    finally:
        os.close(fd)


@contextmanager
def turn() -> Generator[None, None, None]:
    """Wait until nobody else on this kernel has a turn, and have it until it is left.

    mkfs.btrfs refuses a UUID that any block device has, and kernels before 6.7 do not mount a
    second btrfs of one UUID; equal images have equal ones, so they take turns.
    """
    fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def keep(part: Part) -> Path:
    """The device that shows `part` until somebody calls `detach`; raise ToolMissingError."""
    fd, device = _attach(part, flags=0)
    os.close(fd)
    return device


def check() -> None:
    """Raise ToolMissingError unless a loop device can be had; one is, for a moment."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(PROBE)
        with attached(Part(file=Path(file.name))):
            pass


def of_files_below(directory: Path) -> Iterator[Path]:
    """The loop devices that show files below a directory, by the names they were set up with."""
    for entry in sorted(Path("/sys/block").glob("loop*/loop")):
        device = Path("/dev", entry.parent.name)
        with suppress(OSError):  # gone, or not ours to look at
            if f"/{directory.name}/" in _name(device):
                yield device


def _name(device: Path) -> str:
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        info = bytearray(INFO.size)
        fcntl.ioctl(fd, GET_STATUS, info)
        return os.fsdecode(bytes(INFO.unpack(info)[9]).rstrip(b"\0"))
    finally:
        os.close(fd)


def discard(device: Path) -> None:
    """Make all of the device a hole."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        fcntl.ioctl(fd, DISCARD, struct.pack("=QQ", 0, size))
    finally:
        os.close(fd)


def detach(device: Path) -> None:
    """Take the file from a loop device, or have the kernel do so when it is not used any more."""
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, CLEAR)
    finally:
        os.close(fd)


def _attach(part: Part, flags: int = AUTOCLEAR) -> tuple[int, Path]:
    try:
        for device in _candidates(part):
            found = _configure(device, part, flags)
            if found is not None:
                return found, device
    except OSError as error:
        raise ToolMissingError(
            f"no loop device: {error.strerror}",
            where=error.filename or str(CONTROL),
            hint="loop devices take root, a kernel of Linux 5.8 or newer, and /dev of the host",
        ) from error
    raise ToolMissingError("no loop device is free for long enough", where=str(CONTROL))


def _candidates(part: Part) -> Iterator[Path]:
    """Devices that are free, or were a moment ago."""
    for number in range(SHOWN, SHOWN + TRIES) if part.shown else ():
        device = Path(f"/dev/loop{number}")
        if not Path(f"/sys/block/loop{number}/loop").exists():
            with suppress(FileExistsError):
                _control(ADD, number)
            if device.exists():  # only where /dev is the kernel's own
                yield device
    for _ in range(TRIES):
        yield Path(f"/dev/loop{_control(GET_FREE)}")


def _control(request: int, number: int = 0) -> int:
    fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, request, number)
    finally:
        os.close(fd)


def _configure(device: Path, part: Part, flags: int) -> int | None:
    """A descriptor that keeps the device set up; None if somebody else was quicker."""
    name = os.fsencode(part.file)[-63:]
    flags |= READ_ONLY if part.read_only else 0
    mode = os.O_CLOEXEC | (os.O_RDONLY if part.read_only else os.O_RDWR)
    info = INFO.pack(
        0, 0, 0, part.offset, part.size, 0, 0, 0, flags, name, b"", b"", 0, 0
    )  # fmt: skip
    fd = os.open(device, mode)
    backing = -1
    try:
        backing = os.open(part.file, mode)
        fcntl.ioctl(fd, CONFIGURE, CONFIG.pack(backing, part.sector, info))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:
            return None
        raise
    finally:
        if backing >= 0:
            os.close(backing)
    return fd

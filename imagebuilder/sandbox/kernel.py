"""The system calls that Python 3.11 lacks: `mount(2)`, `unshare(2)` and their like."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from enum import IntFlag
from pathlib import Path

from imagebuilder.errors import BuildError


class Namespace(IntFlag):
    """Flags of `unshare(2)`, from `linux/sched.h`."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NETWORK = 0x40000000


class Mount(IntFlag):
    """Flags of `mount(2)`, from `linux/mount.h`."""

    NONE = 0
    READ_ONLY = 0x1
    NO_SUID = 0x2
    NO_DEV = 0x4
    NO_EXEC = 0x8
    REMOUNT = 0x20
    NO_ATIME = 0x400
    NO_DIRECTORY_ATIME = 0x800
    BIND = 0x1000
    RECURSIVE = 0x4000
    PRIVATE = 1 << 18
    SHARED = 1 << 20
    RELATIVE_ATIME = 1 << 21


LOCKED = Mount.NO_SUID | Mount.NO_DEV | Mount.NO_EXEC | Mount.NO_ATIME | Mount.NO_DIRECTORY_ATIME
DETACH = 2
FITRIM = 0xC0185879  # linux/fs.h
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def mount(
    source: str, target: str | Path, kind: str = "", flags: Mount = Mount.NONE, options: str = ""
) -> None:
    """Mount; raise OSError naming the target."""
    done = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(kind) or None,
        ctypes.c_ulong(flags),
        os.fsencode(options) or None,
    )
    _check(done, f"mount on {target}")


def bind(source: Path, target: Path, *, writable: bool = False) -> None:
    """Make `source` visible at `target`; its other restrictions stay."""
    mount(str(source), target, flags=Mount.BIND)
    if not writable:
        status = os.statvfs(target)
        kept = Mount(status.f_flag & LOCKED)
        if status.f_flag & os.ST_RELATIME:
            kept |= Mount.RELATIVE_ATIME
        mount("", target, flags=Mount.BIND | Mount.REMOUNT | Mount.READ_ONLY | kept)


def unmount(target: str | Path, *, busy: bool = True) -> None:
    """Detach what is mounted at `target`; unless `busy` may be, all of it is written by then."""
    _check(_libc.umount2(os.fsencode(target), DETACH if busy else 0), f"unmount {target}")


def leave(target: Path, name: str, *, where: str) -> None:
    """Unmount `target`, all written; raise BuildError, which calls it `name`, if it is in use."""
    try:
        unmount(target, busy=False)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise BuildError(f"{name} is still in use", where=where) from error


def trim(point: Path) -> None:
    """Tell the device below the filesystem at `point` what is free (`fstrim(8)`).

    Everything is written before, as blocks of a deleted file are free only when that is.
    """
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(_libc.syncfs(fd), f"syncfs of {point}")
        fcntl.ioctl(fd, FITRIM, struct.pack("=QQQ", 0, 2**64 - 1, 0))
    finally:
        os.close(fd)


def unshare(namespaces: Namespace) -> None:
    """Move this process (for PID: its children) into new namespaces."""
    _check(_libc.unshare(int(namespaces)), f"unshare {namespaces.name}")


def pivot_root() -> None:
    """Make the current directory the root, and drop the old one."""
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", DETACH), "unmount the old root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def mounts_below(directory: Path) -> tuple[Path, ...]:
    """Everything mounted at or below `directory` in this namespace, innermost first."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except FileNotFoundError as error:
        what = "is not mounted any more (hint: no hook may unmount it)"
        raise FileNotFoundError(error.errno, what, "/proc") from error
    points = [Path(os.fsdecode(line.split()[4].decode("unicode_escape"))) for line in lines]
    return tuple(reversed([point for point in points if point.is_relative_to(directory)]))


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

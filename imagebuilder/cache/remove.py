"""Removes any tree that a build can leave: closed directories, immutable files, any depth."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS and SETFLAGS, linux/fs.h
PROTECTED = 0x10 | 0x20  # immutable, append only
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

T = TypeVar("T")


def remove(directory: Path) -> None:
    """Remove `directory` with all that is in it; raise OSError if something cannot be removed.

    Directories are moved up to `directory` one by one and emptied there. So no path gets long,
    nothing that is mounted in the tree is entered (a mount point cannot be moved), and a removal
    that was cut short can be taken up by the next.
    """
    top = os.open(directory, DIRECTORY)
    mark = secrets.token_hex(8)
    fresh = (f"{mark}.{number}" for number in count())
    try:
        while names := _names(top):
            moved = [_take(top, name, top, fresh) for name in names]
            while moved:
                moved = [new for name in moved if name for new in _empty(top, name, fresh)]
    finally:
        os.close(top)
    with suppress(FileNotFoundError):
        directory.rmdir()


def forced(operation: Callable[[], T], path: Path) -> T:
    """Do it to `path`; where `chattr` is in the way, take that away and try again."""
    try:
        return operation()
    except PermissionError:
        for protected in (path, path.parent):
            with suppress(OSError):
                _unprotect(os.fspath(protected), None)
        return operation()


def _take(parent: int, name: str, top: int, fresh: Iterator[str]) -> str:
    """Remove an entry of `parent`, or make it one of `top` if it is a directory: its new name."""
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            _forced(lambda: os.unlink(name, dir_fd=parent), parent, name)
            return ""
        new = next(fresh)
        _forced(lambda: os.rename(name, new, src_dir_fd=parent, dst_dir_fd=top), parent, name)
        return new
    return ""


def _empty(top: int, name: str, fresh: Iterator[str]) -> tuple[str, ...]:
    """Remove a directory in `top`; what directories it had are now there, by these names."""
    with suppress(FileNotFoundError):
        fd = _forced(lambda: os.open(name, DIRECTORY, dir_fd=top), top, name)
        try:
            moved = tuple(_take(fd, child, top, fresh) for child in _names(fd))
        finally:
            os.close(fd)
        _forced(lambda: os.rmdir(name, dir_fd=top), top, name)
        return moved
    return ()


def _names(fd: int) -> tuple[str, ...]:
    with os.scandir(fd) as entries:
        return tuple(entry.name for entry in entries)


def _forced(operation: Callable[[], T], parent: int, name: str) -> T:
    """Do it; where modes or flags are in the way, take them away and try again."""
    try:
        return operation()
    except PermissionError:
        _free(".", parent)
        _free(name, parent)
        return operation()


def _free(name: str, parent: int) -> None:
    """Let us into a directory, and clear what `chattr +i` and `+a` set, as far as we may."""
    with suppress(OSError):
        mode = os.lstat(name, dir_fd=parent).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # opening a device may do something
            with suppress(OSError):
                _unprotect(name, parent)
        if stat.S_ISDIR(mode):
            os.chmod(name, 0o700, dir_fd=parent)


def _unprotect(name: str, parent: int | None) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    try:
        flags = struct.unpack("i", fcntl.ioctl(fd, GET_FLAGS, struct.pack("i", 0)))[0]
        fcntl.ioctl(fd, SET_FLAGS, struct.pack("i", flags & ~PROTECTED))
    finally:
        os.close(fd)

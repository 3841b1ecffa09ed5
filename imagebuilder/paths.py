"""Paths inside a root tree, which no symlink in the tree can lead out of it.

`openat2(2)` with RESOLVE_IN_ROOT resolves every component, symlinks included, as if the tree
were `/`. Everything that is written into a tree from outside goes through here.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

SYS_OPENAT2 = 437  # the same number on every architecture
RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


def open_in(tree: Path, path: str, flags: int, mode: int = 0o644) -> int:
    """A file descriptor for `path` as seen from inside `tree`; raise OSError as `open` does."""
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    try:
        create = mode if flags & os.O_CREAT else 0
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, create, RESOLVE_IN_ROOT)
        fd = _libc.syscall(SYS_OPENAT2, root, os.fsencode(path.lstrip("/") or "."), how, len(how))
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"{tree}/{path.lstrip('/')}")
        return int(fd)
    finally:
        os.close(root)


def read_in(tree: Path, path: str) -> bytes:
    """The content of a file inside `tree`."""
    with os.fdopen(open_in(tree, path, os.O_RDONLY), "rb") as file:
        return file.read()


def write_in(tree: Path, path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file inside `tree`, making its directories; replace what is there."""
    with directory_in(tree, str(PurePosixPath(path).parent)) as parent:
        name = PurePosixPath(path).name
        temporary = f".{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def exists_in(tree: Path, path: str) -> bool:
    """Whether `path`, resolved inside `tree`, leads to something."""
    try:
        os.close(open_in(tree, path, os.O_PATH))
    except OSError:
        return False
    return True


def names_in(tree: Path, path: str) -> tuple[str, ...]:
    """What is in a directory inside `tree`, sorted; nothing if there is none."""
    if not exists_in(tree, path):
        return ()
    directory: int = open_in(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return tuple(sorted(os.listdir(directory)))
    finally:
        os.close(directory)


def remove_in(tree: Path, path: str) -> None:
    """Remove the file or symlink at `path` inside `tree`, if it is there."""
    with suppress(FileNotFoundError), _parent_in(tree, path) as (parent, name):
        os.unlink(name, dir_fd=parent)


def rename_in(tree: Path, path: str, to: str) -> None:
    """Rename inside `tree`, replacing what is there; nothing happens if there is no `path`."""
    with (
        suppress(FileNotFoundError),
        _parent_in(tree, path) as (parent, name),
        _parent_in(tree, to) as (other, new),
    ):
        os.rename(name, new, src_dir_fd=parent, dst_dir_fd=other)


def is_symlink_in(tree: Path, path: str) -> bool:
    """Whether `path` itself, inside `tree`, is a symlink."""
    try:
        with _parent_in(tree, path) as (parent, name):
            return stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _parent_in(tree: Path, path: str) -> Generator[tuple[int, str], None, None]:
    """A descriptor of the directory that holds `path`, and the name in it."""
    pure = PurePosixPath(path)
    parent = open_in(tree, str(pure.parent), os.O_PATH | os.O_DIRECTORY)
    try:
        yield parent, pure.name
    finally:
        os.close(parent)


@contextmanager
def directory_in(tree: Path, path: str) -> Generator[int, None, None]:
    """A descriptor of the directory `path` inside `tree`, made with its parents if need be."""
    parts = PurePosixPath(path.lstrip("/")).parts
    for depth in range(1, len(parts) + 1):
        parent = open_in(tree, "/".join(parts[: depth - 1]) or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(parts[depth - 1], 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
    fd = open_in(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)

"""Locks that die with their holder: `flock(2)` on files that may be removed while they are free."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
UNMADE = (*READ_ONLY, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR)


@contextmanager
def exclusive(
    path: Path, waiting: Callable[[], None] = lambda: None
) -> Generator[None, None, None]:
    """Hold the lock alone; if somebody else has it, call `waiting` once, then wait.

    There is no lock where there is no room for one, as on a full or read-only filesystem.
    """
    with ExitStack() as stack:
        try:
            stack.callback(release, acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            waiting()
            stack.callback(release, acquire(path, fcntl.LOCK_EX))
        except OSError as error:
            if error.errno not in UNMADE:
                raise
        yield


@contextmanager
def shared(*paths: Path) -> Generator[None, None, None]:
    """Hold locks together with others, where there is room for them."""
    with ExitStack() as stack:
        for path in paths:
            try:
                stack.callback(release, acquire(path, fcntl.LOCK_SH))
            except OSError as error:
                if error.errno not in UNMADE:
                    raise
        yield


@contextmanager
def attempt(path: Path) -> Generator[bool, None, None]:
    """Hold the lock alone if nobody has it, and say whether that is so."""
    try:
        fd = acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        release(fd)


def acquire(path: Path, operation: int) -> int:
    """A descriptor of `path`, made if need be, with a lock; raise OSError as `flock` does."""
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, operation)
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was removed while we waited: nobody else will look at it


def release(fd: int) -> None:
    """Give the lock back, even where a child still has the descriptor open."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False

"""The scratch directory of a build: in memory if there is room, and gone afterwards.

A build that was killed leaves at most one directory behind. Each holds a lock file that its
builder has locked; the next build removes every directory whose lock is free.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagebuilder.cache.remove import remove
from imagebuilder.errors import ConfigError
from imagebuilder.hooks.place import Place
from imagebuilder.options import MEMORY, Request
from imagebuilder.sandbox import kernel, loops
from imagebuilder.sandbox.isolate import detach_below
from imagebuilder.sizes import UNITS, Size

PREFIX = "dib_build."
LOCK = ".lock"
SHARE_OF_MEMORY = 0.8


@contextmanager
def scratch(request: Request) -> Generator[Place, None, None]:
    """A place to build in; needs the builder's own mount namespace."""
    base = base_of(request)
    sweep(base)
    directory, lock = _directory(base)
    try:
        if not in_memory(request):
            check_execution(base)
        else:
            _mount_tmpfs(directory, int(memory_for(request) * SHARE_OF_MEMORY))
            directory.chmod(0o755)  # nobody outside sees it; on a disk all could, so it is private
        place = Place(scratch=directory)
        place.make()
        yield place
    finally:
        detach_below(directory)
        _remove(directory)
        os.close(lock)


def check_execution(base: Path) -> None:
    """Raise ConfigError where no hook could be started."""
    if os.statvfs(base).f_flag & os.ST_NOEXEC:
        raise ConfigError(
            "is mounted noexec, and hooks are started from there",
            where=str(base),
            hint="set TMPDIR to another directory",
        )


def in_memory(request: Request) -> bool:
    """Whether there is memory enough to build in, and a build in memory is wanted."""
    if request.no_tmpfs or "hardened" in request.environment.get("GENTOO_PROFILE", ""):
        return False
    return memory_for(request) >= 2 * request.min_tmpfs


def memory_for(request: Request) -> Size:
    """The memory that a build may take: what is available, and no more than it was allotted."""
    allotted = request.environment.get(MEMORY)
    available = available_memory()
    return min(available, Size.parse(allotted, where=MEMORY)) if allotted else available


def available_memory() -> Size:
    """What the kernel says is available (`proc_meminfo(5)`, MemAvailable)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    words = next(line.split() for line in lines if line.startswith("MemAvailable:"))
    return Size(int(words[1]) * UNITS["KiB"])


def sweep(base: Path) -> None:
    """Remove the scratch directories of builders that have died, and loop devices of theirs.

    One that something is mounted on belongs to the build whose hook has started this one; what
    it has locked lies below.
    """
    for directory in base.glob(f"{PREFIX}*"):
        if directory.is_mount():
            continue
        with suppress(OSError):
            lock = _lock(directory / LOCK)
            for device in loops.of_files_below(directory):
                loops.detach(device)
            _remove(directory)
            os.close(lock)


def _directory(base: Path) -> tuple[Path, int]:
    """A new directory, and the lock that keeps other builders from removing it."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
        try:
            lock = _lock(directory / LOCK)
        except (BlockingIOError, FileNotFoundError):
            continue  # another builder took it for a dead one's before it was locked
        if _is_at(lock, directory / LOCK):
            return directory, lock
        os.close(lock)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _mount_tmpfs(directory: Path, size: int) -> None:
    """With huge pages where the kernel has them: large images are then written twice as fast."""
    options = f"mode=755,size={size}"
    try:
        kernel.mount("tmpfs", directory, "tmpfs", options=f"{options},huge=within_size")
    except OSError:
        kernel.mount("tmpfs", directory, "tmpfs", options=options)


def base_of(request: Request) -> Path:
    """Where scratch directories are made; raise ConfigError if they cannot be."""
    environment = request.environment
    base = Path(environment.get("TMPDIR") or environment.get("TMP_DIR") or tempfile.gettempdir())
    if not base.is_dir() or not os.access(base, os.W_OK | os.X_OK):
        raise ConfigError(
            "is not a directory that can be written to", where=str(base), hint="set TMPDIR"
        )
    return base


def _lock(path: Path) -> int:
    """A descriptor that holds the lock; raise OSError if somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove(directory: Path) -> None:
    with suppress(OSError):
        kernel.unmount(directory)
    with suppress(OSError):  # what is left is the next build's to remove
        remove(directory)

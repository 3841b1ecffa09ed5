"""Takes out of a finished tree what the build needed and the image does not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from imagebuilder import paths
from imagebuilder.cache.remove import forced

RESOLV = "/etc/resolv.conf"
ORIGINAL = "/etc/resolv.conf.ORIG"
FALLBACK = b"nameserver 127.0.0.53\n"
# Rewritten by the next run of the program they belong to, and different after every build.
VOLATILE = (
    "/var/cache/ldconfig/aux-cache",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/cache/debconf/config.dat-old",
    "/var/cache/debconf/templates.dat-old",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/available-old",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/statoverride-old",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/.extra_settings",
)


def lend_resolver(tree: Path) -> None:
    """Give the chroot the host's resolver; the tree's own file waits as `.ORIG`."""
    paths.rename_in(tree, RESOLV, ORIGINAL)
    host = Path(RESOLV)
    paths.write_in(tree, RESOLV, host.read_bytes() if host.is_file() else FALLBACK)


def renew_resolver(tree: Path) -> None:
    """Make the file that a layer was lent the host's of today; a symlink stays."""
    host, lent = Path(RESOLV), tree / RESOLV.lstrip("/")
    if not host.is_file() or paths.is_symlink_in(tree, RESOLV):
        return
    if not lent.is_file() or lent.read_bytes() != host.read_bytes():
        paths.write_in(tree, RESOLV, host.read_bytes())


def return_resolver(tree: Path) -> None:
    """Put the tree's own resolver file back, unless a hook has made it a symlink or immutable."""
    try:
        if not paths.is_symlink_in(tree, RESOLV):
            paths.remove_in(tree, RESOLV)
            paths.rename_in(tree, ORIGINAL, RESOLV)
    except PermissionError:  # immutable, chattr(1): as a hook wants it
        pass
    paths.remove_in(tree, ORIGINAL)


def tidy(tree: Path) -> None:
    """Empty /tmp and the logs, and remove what differs between two equal builds.

    Of /run only directories stay, for containers; machines begin with an empty one.
    """
    _empty(tree / "tmp")
    for path in _others_than_directories(tree / "run"):
        forced(path.unlink, path)
    for path in _files(tree / "var/log"):
        forced(partial(os.truncate, path, 0), path)
    for path in _files(tree / "root"):
        if path.suffix == ".log":
            forced(path.unlink, path)
    for name in VOLATILE:
        paths.remove_in(tree, name)


def own_root(tree: Path) -> None:
    """Make the root directory as mkfs makes it, whatever an archive or a hook has left it as."""
    os.chown(tree, 0, 0)
    tree.chmod(0o755)


def clamp_times(tree: Path, epoch: int, like: Path | None = None, since: int = 0) -> None:
    """Set every modification time later than `epoch` (seconds) to it, innermost first.

    With `like`, the upper directory of an overlay that is mounted at `tree`, only of what is in it.
    What was last changed before the moment `since` (nanoseconds) keeps its own.
    """
    limit, top = epoch * 10**9, os.fspath(like or tree)
    for path, status in walk(top):
        whiteout = like is not None and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        if status.st_mtime_ns > limit and status.st_ctime_ns >= since and not whiteout:
            seen = f"{tree}{path.removeprefix(top)}"
            again = partial(os.utime, seen, ns=(limit, limit), follow_symlinks=False)
            forced(again, Path(seen))


def walk(directory: Path | str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below and the directory itself, children before their parents."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            else:
                yield entry.path, entry.stat(follow_symlinks=False)
    yield os.fspath(directory), os.lstat(directory)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path, mode in _inside(directory) if stat.S_ISREG(mode))


def _others_than_directories(directory: Path) -> Iterator[Path]:
    return (path for path, mode in _inside(directory) if not stat.S_ISDIR(mode))


def _inside(directory: Path) -> Iterator[tuple[Path, int]]:
    """Paths and modes of all in it and of itself, unless a symlink has its name."""
    if directory.is_dir() and not directory.is_symlink():
        for path, status in walk(directory):
            yield Path(path), status.st_mode


def _empty(directory: Path) -> None:
    for path, mode in _inside(directory):
        if path != directory:
            forced(path.rmdir if stat.S_ISDIR(mode) else path.unlink, path)

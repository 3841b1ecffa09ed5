"""What a layer looked like when it was kept, so that a change to it does not go unnoticed.

Reading all of a layer takes seconds, looking at every inode a fraction of one. No write, no
`chmod`, no change of an extended attribute leaves an inode's change time alone, and nothing but
the clock sets it; so size, times and inode number stand for the content. That finds accidents:
somebody who can set the clock, or write to the disk beneath, is not kept out.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.sizes import Size

ROW = struct.Struct("<IIIQQqqQ")  # mode, uid, gid, size, rdev, mtime and ctime in ns, inode
FIELDS = ("mode", "owner", "group", "size", "device number", "mtime", "ctime", "inode")
BLOCK = 512  # the unit of st_blocks


@dataclass(frozen=True, slots=True)
class Scan:
    """A tree at one moment; the manifest is one row per inode, sorted by path."""

    manifest: bytes
    inodes: int
    size: Size  # on disk


def scan(tree: Path) -> Scan:
    """Look at every inode of `tree`; raise OSError, also where something is mounted in it.

    A row is the path, a zero byte, and `ROW`. The tree itself has the empty path.
    """
    found, blocks, seen = [], 0, set()
    for path, status in walk(tree):
        found.append(path + b"\0" + _row(status))
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode) or status.st_ino not in seen:
            blocks += status.st_blocks
            seen.add(status.st_ino)
    found.sort()
    return Scan(b"".join(found), len(found), Size(blocks * BLOCK))


def walk(tree: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every inode of `tree`, the tree first, with its path in it; raise OSError at a mount."""
    top = os.lstat(tree)
    if not stat.S_ISDIR(top.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(tree))
    yield b"", top
    waiting = [(os.fsencode(tree), b"")]
    while waiting:
        directory, prefix = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                path = prefix + entry.name
                if stat.S_ISDIR(status.st_mode):
                    if status.st_dev != top.st_dev:
                        raise OSError(errno.EXDEV, "something is mounted here", entry.path)
                    waiting.append((entry.path, path + b"/"))
                yield path, status


def differences(before: bytes, after: bytes) -> tuple[str, ...]:
    """What became of each path between two manifests, in the order of paths."""
    old, new = rows(before), rows(after)
    faults = []
    for path in sorted(old.keys() | new.keys()):
        name = shown(path)
        if path not in new:
            faults.append(f"{name} is missing")
        elif path not in old:
            faults.append(f"{name} was added")
        elif old[path] != new[path]:
            faults.append(f"{name} has another {_first_difference(old[path], new[path])}")
    return tuple(faults)


def shown(path: bytes) -> str:
    """A path of a tree as it can be printed."""
    return path.decode(errors="backslashreplace").replace("\n", "\\n") or "/"


def _row(status: os.stat_result) -> bytes:
    return ROW.pack(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_rdev,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )


def rows(manifest: bytes) -> dict[bytes, bytes]:
    """Paths and rows; what is cut short is left out."""
    found, start = {}, 0
    while (end := manifest.find(b"\0", start)) >= 0:
        found[manifest[start:end]] = manifest[end + 1 : end + 1 + ROW.size]
        start = end + 1 + ROW.size
    return {path: row for path, row in found.items() if len(row) == ROW.size}


def _first_difference(before: bytes, after: bytes) -> str:
    pairs = zip(FIELDS, ROW.unpack(before), ROW.unpack(after), strict=True)
    return next(name for name, old, new in pairs if old != new)

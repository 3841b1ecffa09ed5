"""Puts right what `mke2fs -d` gets wrong, where only mke2fs can fill the filesystem.

It copies atime and ctime from the tree (ctime cannot be set in a tree, so no two builds agree),
gives the root directory its own mode, owner and time, and up to 1.47.0 lets times from 2038 on
wrap, clamping them later. The library writes inodes with their checksums in a fraction of the
time that debugfs(8) takes for as many commands.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from imagebuilder.filesystems import ext2fs
from imagebuilder.filesystems.ext2fs import OLD_SIZE, ROOT, Filesystem
from imagebuilder.filesystems.ext_inode import clamped

CLAMPED = 2**31 - 1

# Places in struct ext2_inode_large (ext2fs/ext2_fs.h)
MODE, UID, ATIME, CTIME, MTIME, GID = 0, 2, 8, 12, 16, 24
UID_HIGH, GID_HIGH, EXTRA_SIZE = 120, 122, 128
CTIME_EXTRA, MTIME_EXTRA, ATIME_EXTRA, CRTIME, CRTIME_EXTRA = 132, 136, 140, 144, 148


def settle(image: Path, offset: int, tree: Path, moment: int) -> None:
    """Make the filesystem that mke2fs filled from `tree` say of it only what is in it.

    All times but mtime become `moment` (seconds since 1970); the root directory gets the
    tree's mode, owner and mtime, and every mtime that 32 bits could not hold is put right.
    """
    with ext2fs.opened(image, offset) as filesystem:
        doubtful = set_times(filesystem, moment)
        _set_root(filesystem, tree.stat())
        if doubtful:
            _set_late_times(filesystem, tree)


def set_times(filesystem: Filesystem, moment: int) -> bool:
    """Set all times but mtime (seconds since 1970); tell whether some mtime is doubtful."""
    doubtful = False
    for number, inode in filesystem.inodes():
        before = bytes(inode)
        struct.pack_into("<II", inode, ATIME, moment, moment)
        for field in (CTIME_EXTRA, ATIME_EXTRA, CRTIME_EXTRA):
            _set_extra(inode, field, 0)
        _set_extra(inode, CRTIME, moment)
        if inode != before:
            filesystem.write(number, inode)
        mtime = struct.unpack_from("<i", inode, MTIME)[0]
        doubtful = doubtful or mtime < 0 or mtime == CLAMPED
    return doubtful


def _set_root(filesystem: Filesystem, status: os.stat_result) -> None:
    inode = filesystem.read(ROOT)
    struct.pack_into("<H", inode, MODE, status.st_mode & 0xFFFF)
    for low, high, owner in ((UID, UID_HIGH, status.st_uid), (GID, GID_HIGH, status.st_gid)):
        struct.pack_into("<H", inode, low, owner & 0xFFFF)
        struct.pack_into("<H", inode, high, owner >> 16)
    _set_mtime(inode, int(status.st_mtime_ns // 10**9))
    filesystem.write(ROOT, inode)


def _set_late_times(filesystem: Filesystem, tree: Path) -> None:
    for path, seconds in _late(os.fsencode(tree)):
        number = filesystem.number(path)
        inode = filesystem.read(number)
        _set_mtime(inode, seconds)
        filesystem.write(number, inode)


def _late(tree: bytes, below: bytes = b"") -> Iterator[tuple[bytes, int]]:
    """Paths below `tree` whose mtime, in seconds, has no room in 31 bits."""
    with os.scandir(os.path.join(tree, below)) as entries:  # ruff: ignore[os-path-join] - bytes
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = below + b"/" + entry.name if below else entry.name
            status = entry.stat(follow_symlinks=False)
            seconds = status.st_mtime_ns // 10**9
            if not 0 <= seconds < CLAMPED:
                yield path, seconds
            if stat.S_ISDIR(status.st_mode):
                yield from _late(tree, path)


def _set_mtime(inode: bytearray, seconds: int) -> None:
    seconds = clamped(seconds)
    low = (seconds + 2**31) % 2**32 - 2**31
    struct.pack_into("<i", inode, MTIME, low)
    _set_extra(inode, MTIME_EXTRA, (seconds - low) >> 32)


def _set_extra(inode: bytearray, field: int, value: int) -> None:
    """Set a field beyond the first 128 bytes, if this inode goes that far."""
    if len(inode) <= OLD_SIZE:
        return
    end = OLD_SIZE + struct.unpack_from("<H", inode, EXTRA_SIZE)[0]
    if field + 4 <= end:
        struct.pack_into("<I", inode, field, value)

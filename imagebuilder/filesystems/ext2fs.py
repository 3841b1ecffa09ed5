"""libext2fs(3), as far as it takes to set what `mke2fs -d` gets wrong.

mke2fs copies atime and ctime from the tree (ctime cannot be set in a tree, so no two builds
agree), gives the root directory its own mode, owner and time, and up to 1.47.0 lets times from
2038 on wrap, clamping them later. The library writes inodes with their checksums in a fraction
of the time that debugfs(8) takes for as many commands.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from imagebuilder.errors import CommandError, ToolMissingError

LIBRARY = "libext2fs.so.2"
READ_WRITE, BITS_64 = 0x01, 0x20000  # EXT2_FLAG_RW, EXT2_FLAG_64BITS
ROOT = 2
OLD_SIZE = 128  # where the fields end that every inode has
WRAPPED = (-(2**31), -1)  # what 2038 and later look like in 32 bits; 1901 to 1969, too
CLAMPED = 2**31 - 1

# Offsets in struct ext2_inode_large (ext2fs/ext2_fs.h)
MODE, UID, ATIME, CTIME, MTIME, GID, LINKS = 0, 2, 8, 12, 16, 24, 26
UID_HIGH, GID_HIGH, EXTRA_SIZE = 120, 122, 128
CTIME_EXTRA, MTIME_EXTRA, ATIME_EXTRA, CRTIME, CRTIME_EXTRA = 132, 136, 140, 144, 148


class Filesystem:
    """An ext2, ext3 or ext4 filesystem that is open for changing inodes in place."""

    def __init__(self, handle: ctypes.c_void_p, inode_size: int, where: str) -> None:
        self.handle, self.inode_size, self.where = handle, inode_size, where

    def inodes(self) -> Iterator[tuple[int, bytearray]]:
        """Every inode in use, as its number and bytes."""
        scan, number = ctypes.c_void_p(), ctypes.c_uint32()
        buffer = ctypes.create_string_buffer(self.inode_size)
        following = _library().ext2fs_get_next_inode_full
        self.check(_library().ext2fs_open_inode_scan(self.handle, 0, ctypes.byref(scan)))
        try:
            while True:
                self.check(following(scan, ctypes.byref(number), buffer, self.inode_size))
                if not number.value:
                    return
                inode = bytearray(buffer.raw)
                if inode[LINKS] or inode[LINKS + 1]:
                    yield number.value, inode
        finally:
            _library().ext2fs_close_inode_scan(scan)

    def read(self, number: int) -> bytearray:
        """One inode's bytes."""
        buffer = ctypes.create_string_buffer(self.inode_size)
        size = self.inode_size
        self.check(_library().ext2fs_read_inode_full(self.handle, number, buffer, size))
        return bytearray(buffer.raw)

    def write(self, number: int, inode: bytearray) -> None:
        """Write one inode's bytes, with a new checksum."""
        size = self.inode_size
        self.check(_library().ext2fs_write_inode_full(self.handle, number, bytes(inode), size))

    def number(self, path: bytes) -> int:
        """The inode that `path` (from the root, without a slash first) names."""
        found = ctypes.c_uint32()
        reference = ctypes.byref(found)
        self.check(_library().ext2fs_namei(self.handle, ROOT, ROOT, path, reference))
        return found.value

    def check(self, code: int) -> None:
        """Raise CommandError unless a call of the library went well."""
        if code:
            message = _library().error_message(code).decode(errors="replace")
            raise CommandError(f"{LIBRARY}: {message}", where=self.where)


@contextmanager
def opened(image: Path, offset: int) -> Generator[Filesystem, None, None]:
    """The filesystem that begins `offset` bytes into `image`."""
    library = _library()
    handle = ctypes.c_void_p()
    filesystem = Filesystem(handle, _inode_size(image, offset), str(image))
    options = b"offset=%d" % offset
    manager = ctypes.c_void_p.in_dll(library, "unix_io_manager")
    flags = READ_WRITE | BITS_64
    filesystem.check(
        library.ext2fs_open2(
            os.fsencode(image), options, flags, 0, 0, manager, ctypes.byref(handle)
        )
    )
    try:
        yield filesystem
    finally:
        # Frees and writes the inodes that are left, but not, as ext2fs_close() would, a
        # superblock with the time of day in it.
        library.ext2fs_free(handle)


def settle(image: Path, offset: int, tree: Path, moment: int) -> None:
    """Make the filesystem that mke2fs filled from `tree` say of it only what is in it.

    All times but mtime become `moment` (seconds since 1970); the root directory gets the
    tree's mode, owner and mtime, and every mtime that 32 bits could not hold is put right.
    """
    with opened(image, offset) as filesystem:
        doubtful = _set_times(filesystem, moment)
        _set_root(filesystem, tree.stat())
        if doubtful:
            _set_late_times(filesystem, tree)


def _set_times(filesystem: Filesystem, moment: int) -> bool:
    """Set all times but mtime; tell whether some mtime may not be what the tree has."""
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
    """Seconds from 1901 to 2446: 32 bits, and two more (Linux, Documentation/filesystems/ext4)."""
    seconds = min(max(seconds, -(2**31)), 2**34 - 2**31 - 1)
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


def _inode_size(image: Path, offset: int) -> int:
    """From the superblock, 1024 bytes in, of which it is bytes 88 and 89."""
    with image.open("rb") as file:
        file.seek(offset + 1024 + 88)
        return int.from_bytes(file.read(2), "little") or OLD_SIZE


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ToolMissingError(
            f"{LIBRARY} is not installed", hint="it belongs to the same project as mke2fs"
        ) from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    unsigned, reference = ctypes.c_uint32, ctypes.c_void_p
    signatures: dict[str, tuple[object, ...]] = {
        "ext2fs_open2": (text, text, number, number, ctypes.c_uint, pointer, reference),
        "ext2fs_open_inode_scan": (pointer, number, reference),
        "ext2fs_get_next_inode_full": (pointer, reference, pointer, number),
        "ext2fs_read_inode_full": (pointer, unsigned, pointer, number),
        "ext2fs_write_inode_full": (pointer, unsigned, pointer, number),
        "ext2fs_namei": (pointer, unsigned, unsigned, text, reference),
        "ext2fs_close_inode_scan": (pointer,),
        "ext2fs_free": (pointer,),
    }
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_long
    library.initialize_ext2_error_table()
    library.error_message.argtypes, library.error_message.restype = (ctypes.c_long,), text
    return library

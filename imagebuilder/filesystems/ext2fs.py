"""libext2fs(3), as far as it takes to fill a filesystem that mke2fs made, and to mend one.

The library keeps the bitmaps, the counts and the checksums; what goes into inodes and
directories is worked out elsewhere.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from imagebuilder.errors import CommandError, ToolMissingError

LIBRARY = "libext2fs.so.2"
READ_WRITE, BITS_64 = 0x01, 0x20000  # EXT2_FLAG_RW, EXT2_FLAG_64BITS
ONLY_FIRST_SUPERBLOCK = 0x200  # EXT2_FLAG_MASTER_SB_ONLY
WITHOUT_SYNC = 1  # EXT2_FLAG_FLUSH_NO_SYNC
NO_SPACE_IN_DIRECTORY = 2133571366  # EXT2_ET_DIR_NO_SPACE
ROOT, LOST_AND_FOUND = 2, 11
OLD_SIZE = 128  # of an inode; where the fields end that every inode has
LINKS = 26  # the place of the count of links in an inode

NUMBER, UNSIGNED, LONG = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
POINTER, TEXT, CODE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long
SIGNATURES: Mapping[str, tuple[type, ...]] = {
    "ext2fs_open2": (TEXT, TEXT, NUMBER, NUMBER, ctypes.c_uint, POINTER, POINTER),
    "ext2fs_read_bitmaps": (POINTER,),
    "ext2fs_open_inode_scan": (POINTER, NUMBER, POINTER),
    "ext2fs_get_next_inode_full": (POINTER, POINTER, POINTER, NUMBER),
    "ext2fs_close_inode_scan": (POINTER,),
    "ext2fs_read_inode_full": (POINTER, UNSIGNED, POINTER, NUMBER),
    "ext2fs_write_inode_full": (POINTER, UNSIGNED, TEXT, NUMBER),
    "ext2fs_namei": (POINTER, UNSIGNED, UNSIGNED, TEXT, POINTER),
    "ext2fs_new_inode": (POINTER, UNSIGNED, NUMBER, POINTER, POINTER),
    "ext2fs_inode_alloc_stats2": (POINTER, UNSIGNED, NUMBER, NUMBER),
    "ext2fs_new_range": (POINTER, NUMBER, LONG, LONG, POINTER, POINTER, POINTER),
    "ext2fs_block_alloc_stats_range": (POINTER, LONG, UNSIGNED, NUMBER),
    "ext2fs_link": (POINTER, UNSIGNED, TEXT, UNSIGNED, NUMBER),
    "ext2fs_expand_dir": (POINTER, UNSIGNED),
    "ext2fs_write_dir_block4": (POINTER, LONG, TEXT, NUMBER, UNSIGNED),
    "ext2fs_extent_block_csum_set": (POINTER, UNSIGNED, POINTER),
    "io_channel_write_blk64": (POINTER, LONG, NUMBER, TEXT),
    "ext2fs_xattrs_open": (POINTER, UNSIGNED, POINTER),
    "ext2fs_xattr_set": (POINTER, TEXT, TEXT, ctypes.c_size_t),
    "ext2fs_xattrs_close": (POINTER,),
    "ext2fs_close2": (POINTER, NUMBER),
    "ext2fs_free": (POINTER,),
}


class Handle(ctypes.Structure):
    """The beginning of struct_ext2_filsys (ext2fs/ext2fs.h), which is part of the interface."""

    _fields_ = (
        ("magic", ctypes.c_long),
        ("io", POINTER),
        ("flags", NUMBER),
        ("device_name", POINTER),
        ("super", POINTER),
        ("blocksize", ctypes.c_uint),
        ("fragsize", NUMBER),
        ("group_desc_count", UNSIGNED),
        ("desc_blocks", ctypes.c_ulong),
        ("group_desc", POINTER),
        ("inode_blocks_per_group", ctypes.c_uint),
        ("inode_map", POINTER),
        ("block_map", POINTER),
        ("functions", POINTER * 5),
        ("badblocks", POINTER),
        ("dblist", POINTER),
        ("stride", UNSIGNED),
        ("orig_super", POINTER),
        ("image_header", POINTER),
        ("umask", UNSIGNED),
        ("now", ctypes.c_long),
    )


class Filesystem:
    """An ext2, ext3 or ext4 filesystem that is open for changing what is in it."""

    def __init__(self, handle: ctypes.c_void_p, inode_size: int, where: str) -> None:
        self.handle, self.inode_size, self.where = handle, inode_size, where
        self.range = ctypes.c_uint64(), ctypes.c_uint64()
        self.fresh = ctypes.c_uint32()

    @property
    def fields(self) -> Handle:
        """The part of the library's own structure that programs may look at."""
        return ctypes.cast(self.handle, ctypes.POINTER(Handle)).contents

    @property
    def superblock(self) -> bytes:
        """The superblock's 1024 bytes."""
        return ctypes.string_at(self.fields.super, 1024)

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

    def write(self, number: int, inode: bytes | bytearray) -> None:
        """Write one inode's bytes, with a new checksum."""
        size = self.inode_size
        self.check(_library().ext2fs_write_inode_full(self.handle, number, bytes(inode), size))

    def number(self, path: bytes) -> int:
        """The inode that `path` (from the root, without a slash first) names."""
        found = ctypes.c_uint32()
        reference = ctypes.byref(found)
        self.check(_library().ext2fs_namei(self.handle, ROOT, ROOT, path, reference))
        return found.value

    def new_inode(self, *, directory: bool) -> int:
        """Take the first inode that is free; its number."""
        fresh = self.fresh
        library = _library()
        self.check(library.ext2fs_new_inode(self.handle, ROOT, 0, None, ctypes.byref(fresh)))
        library.ext2fs_inode_alloc_stats2(self.handle, fresh.value, 1, int(directory))
        return fresh.value

    def new_blocks(self, count: int, goal: int) -> Iterator[tuple[int, int]]:
        """Take the next `count` blocks from `goal` on that are free, in ranges: (first, blocks)."""
        library, (first, length) = _library(), self.range
        found = ctypes.byref(first), ctypes.byref(length)
        while count:
            self.check(library.ext2fs_new_range(self.handle, 0, goal, count, None, *found))
            start, blocks = first.value, length.value
            library.ext2fs_block_alloc_stats_range(self.handle, start, blocks, 1)
            goal = start + blocks
            count -= blocks
            yield start, blocks

    def write_block(self, block: int, content: bytes) -> None:
        """Write one block."""
        self.check(_library().io_channel_write_blk64(self.fields.io, block, 1, content))

    def write_extents(self, block: int, content: bytes, owner: int) -> None:
        """Write a block of the tree of extents that belongs to the inode `owner`."""
        buffer = ctypes.create_string_buffer(content, len(content))
        self.check(_library().ext2fs_extent_block_csum_set(self.handle, owner, buffer))
        self.write_block(block, buffer.raw)

    def write_listing(self, block: int, content: bytes, owner: int) -> None:
        """Write a block of the directory that is the inode `owner`."""
        self.check(_library().ext2fs_write_dir_block4(self.handle, block, content, 0, owner))

    def link(self, directory: int, name: bytes, number: int, kind: int) -> None:
        """Add a name of the inode `number` to a directory that is there already."""
        library = _library()
        given = (self.handle, directory, name, number, kind)
        code = library.ext2fs_link(*given)
        if code == NO_SPACE_IN_DIRECTORY:
            self.check(library.ext2fs_expand_dir(self.handle, directory))
            code = library.ext2fs_link(*given)
        self.check(code)

    def set_attributes(self, number: int, attributes: Iterable[tuple[str, bytes]]) -> None:
        """Give an inode extended attributes, ACLs as listxattr(2) has them."""
        opened = ctypes.c_void_p()
        library = _library()
        self.check(library.ext2fs_xattrs_open(self.handle, number, ctypes.byref(opened)))
        try:
            for name, value in attributes:
                encoded = os.fsencode(name)
                self.check(library.ext2fs_xattr_set(opened, encoded, value, len(value)))
        finally:
            library.ext2fs_xattrs_close(ctypes.byref(opened))

    def check(self, code: int) -> None:
        """Raise CommandError unless a call of the library went well."""
        if code:
            message = _library().error_message(code).decode(errors="replace")
            raise CommandError(f"{LIBRARY}: {message}", where=self.where)


@contextmanager
def opened(image: Path, offset: int) -> Generator[Filesystem, None, None]:
    """The filesystem that begins `offset` bytes into `image`, for changing inodes in place."""
    filesystem = _open(image, offset)
    try:
        yield filesystem
    finally:
        # Frees and writes the inodes that are left, but not, as ext2fs_close2() would, a
        # superblock with the time of day in it.
        _library().ext2fs_free(filesystem.handle)


@contextmanager
def filling(image: Path, offset: int, moment: int) -> Generator[Filesystem, None, None]:
    """The same for adding to it; `moment` is when it is changed, in seconds since 1970."""
    filesystem = _open(image, offset)
    try:
        filesystem.check(_library().ext2fs_read_bitmaps(filesystem.handle))
        filesystem.fields.now = moment or 1  # 0 would be the time of day
        filesystem.fields.flags &= ~ONLY_FIRST_SUPERBLOCK
        yield filesystem
    except BaseException:
        _library().ext2fs_free(filesystem.handle)
        raise
    code = _library().ext2fs_close2(filesystem.handle, WITHOUT_SYNC)
    if code:
        _library().ext2fs_free(filesystem.handle)
    filesystem.check(code)


def _open(image: Path, offset: int) -> Filesystem:
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
    return filesystem


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
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, CODE
    library.initialize_ext2_error_table()
    library.error_message.argtypes, library.error_message.restype = (CODE,), TEXT
    return library

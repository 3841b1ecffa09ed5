"""Inodes and directories of ext2, ext3 and ext4 as bytes.

The format is that of Linux, Documentation/filesystems/ext4; checksums are left to libext2fs.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

EXTRA = 32  # bytes of the fields after those, for inodes that have room
MOST_LINKS = 65000  # directories with more say 1
EARLIEST, LATEST = -(2**31), 2**34 - 2**31 - 1  # seconds since 1970: 32 bits and two more
IN_INODE = 60  # bytes for a map of blocks, a device's number or a short symlink
SECTOR = 512

FIXED = struct.Struct("<HHIIIiIHHIII60sIIIIHHHHHH")
MORE = struct.Struct("<HHIIIII4x4x")

# What a directory's entry says of its inode (EXT2_FT_*).
KINDS = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
ENTRY = struct.Struct("<IHBB")
TAIL = struct.Struct("<IHBBI")
TAIL_KIND = 0xDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Where an inode's content is: 60 bytes that say it, and the blocks that they lead to."""

    area: bytes = b""
    blocks: int = 0
    size: int = 0
    flags: int = 0


def inode(
    status: os.stat_result, content: Content, links: int, moment: int, *, block_size: int
) -> bytes:
    """An inode with owner, mode and mtime of `status`; all other times are `moment`."""
    seconds = clamped(status.st_mtime_ns // 10**9)
    low = (seconds + 2**31) % 2**32 - 2**31
    sectors = content.blocks * (block_size // SECTOR)
    uid, gid = status.st_uid, status.st_gid
    return FIXED.pack(
        status.st_mode & 0xFFFF, uid & 0xFFFF,
        content.size & 0xFFFFFFFF,
        moment, moment, low, 0,
        gid & 0xFFFF, links if links <= MOST_LINKS else 1,
        sectors & 0xFFFFFFFF, content.flags, 0,
        content.area,
        0, 0,  # generation, block of attributes
        content.size >> 32, 0,
        sectors >> 32, 0,
        uid >> 16, gid >> 16, 0, 0,
    ) + MORE.pack(EXTRA, 0, 0, (seconds - low) >> 32, 0, moment, 0)  # fmt: skip


def content(inode: bytes | bytearray, block_size: int) -> Content:
    """Where the content of an inode is that somebody else wrote."""
    fields = FIXED.unpack_from(inode)
    sectors = fields[9] | fields[17] << 32
    return Content(
        area=fields[12],
        blocks=sectors // (block_size // SECTOR),
        size=fields[2] | fields[15] << 32,
        flags=fields[10],
    )


def clamped(seconds: int) -> int:
    """The nearest time that there is: 1901 to 2446 (Linux, Documentation/filesystems/ext4)."""
    return min(max(seconds, EARLIEST), LATEST)


def device(number: int) -> bytes:
    """What the inode of a device holds: its number, the short way if that is enough."""
    major, minor = os.major(number), os.minor(number)
    if major < 256 and minor < 256:
        return struct.pack("<II", major << 8 | minor, 0)
    return struct.pack("<II", 0, minor & 0xFF | major << 8 | (minor & ~0xFF) << 12)


def listing(
    entries: Iterable[tuple[int, bytes, int]], block_size: int, *, checksums: bool
) -> list[bytes]:
    """The blocks of a directory with these entries: (inode, name, kind)."""
    tail = TAIL.pack(0, TAIL.size, 0, TAIL_KIND, 0) if checksums else b""
    room = block_size - len(tail)
    blocks: list[bytes] = []
    block, last = bytearray(), 0
    for number, name, kind in entries:
        length = (ENTRY.size + len(name) + 3) & ~3
        if len(block) + length > room:
            blocks.append(_filled(block, last, room) + tail)
            block = bytearray()
        last = len(block)
        block += ENTRY.pack(number, length, len(name), kind) + name
        block += bytes(last + length - len(block))
    return [*blocks, _filled(block, last, room) + tail]


def _filled(block: bytearray, last: int, room: int) -> bytes:
    """The block with its last entry, which is at `last`, reaching to the end of the room."""
    struct.pack_into("<H", block, last + 4, room - last)
    return bytes(block.ljust(room, b"\0"))

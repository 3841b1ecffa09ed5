"""A disk as it is while it is made: one sparse file, and what still lies in files of the tree.

Most bytes of a disk are contents of files. Who compresses the disk reads them where they are,
so that they need no room twice, and no time to get there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

STAMP = struct.Struct(">QQqq")


class Borrowed(NamedTuple):
    """Bytes of a disk that are to be read from another file."""

    start: int  # on the disk
    length: int
    path: str
    offset: int  # in that file
    stamp: bytes = b""  # `stamp` of that file, if it is known


CLUSTER = 1 << 16  # bytes
Place = tuple[int, int]  # offset and length, in bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What clusters of a disk are compressed to in the qcow2 file that it was read from.

    By content, since any of them may have changed; or by number those that nobody has, and beside
    them the numbers of all others that the disk has.
    """

    name: str
    file: Path  # open already, below /proc/self/fd: the name may be another file's now
    kind: str  # "zlib" or "zstd"
    read: os.stat_result  # what the file was like then
    contents: Mapping[bytes, Place] = field(default_factory=dict)  # by SHA-256
    kept: Mapping[int, Place] = field(default_factory=dict)
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A disk's file, with holes where bytes are borrowed; these in order, none over another."""

    file: Path
    borrowed: tuple[Borrowed, ...] = ()
    packed: Packed | None = None

    def copied(self, stamps: Mapping[bytes, bytes]) -> Image:
        """The same disk, its files known by the stamps of copies of them that will stay."""
        known = (each._replace(stamp=stamps.get(each.stamp, each.stamp)) for each in self.borrowed)
        return replace(self, borrowed=tuple(known))


def stamp(status: os.stat_result) -> bytes:
    """What is another as soon as somebody writes to the file: 32 bytes."""
    return stamped(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def changed(known: bytes) -> int:
    """The change time in a stamp, in ns."""
    return int(STAMP.unpack(known)[-1])


def stamped(inode: int, size: int, mtime: int, ctime: int) -> bytes:
    """The same, of times in ns."""
    return STAMP.pack(inode, size, mtime, ctime)

"""How large an ext2, ext3 or ext4 filesystem has to be for a tree, reckoned as mke2fs does.

The layout is the one in Linux, Documentation/filesystems/ext4; the defaults are those of
mke2fs(8) and its mke2fs.conf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from imagebuilder.filesystems.measure import Measured
from imagebuilder.sizes import Size

BLOCK = 4096
SMALL = 512 * 2**20  # below this, mke2fs.conf calls a filesystem small
GROUP = 8 * BLOCK  # blocks that one bitmap block tells of
DESCRIPTORS = BLOCK // 64  # of block groups in a block
RESERVED_INODES = 11  # lost+found included
LOST_AND_FOUND = 4  # blocks
ENTRY, CHECKSUM, LONGEST = 12, 12, 264  # bytes in a directory: fixed and padding, tail, entry
EXTENTS = 340 // 2  # in one block, half full as splitting leaves them
RESIZE_ROOM, RESIZE_MOST = 1024, 1024  # how many times larger, and the most blocks kept for it
LEAST_FOR_JOURNAL = 2048  # blocks
LEAST = 256  # blocks; below, mke2fs may find no room for its own
# A filesystem with fewer blocks than the first gets a journal of the second (ext2fs/mkjournal.c).
JOURNALS = (
    (LEAST_FOR_JOURNAL, 0),
    (2**15, 1024),
    (2**18, 4096),
    (2**19, 8192),
    (2**22, 16384),
    (2**23, 32768),
    (2**24, 65536),
    (2**63, 262144),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The mke2fs options that decide how much room is left for files."""

    ratio: int | None = None  # bytes for each inode; None: by size
    inodes: int | None = None
    inode_size: int = 256
    journal: int | None = None  # bytes; None: by size
    resize: int = 0  # blocks it must be able to grow to
    extents: bool = True


def default_ratio(size: int) -> int:
    """Bytes for each inode where nobody says: many small files are likelier on small disks."""
    return 4096 if size < SMALL else 16384


def options(kind: str, arguments: Sequence[str]) -> Options:
    """What `arguments` of mke2fs say about room."""
    values = dict(pairwise(arguments))
    journal = _named(values.get("-J", ""), "size")
    return Options(
        ratio=_number(values.get("-i")),
        inodes=_number(values.get("-N")),
        inode_size=_number(values.get("-I")) or 256,
        journal=0 if kind == "ext2" else None if journal is None else journal * 2**20,
        resize=_named(values.get("-E", ""), "resize") or 0,
        extents=kind == "ext4" and "^extent" not in values.get("-O", ""),
    )


def smallest(measured: Measured, wanted: Options) -> Size:
    """The least size, in whole blocks, whose free blocks and inodes are enough for the tree."""
    content = _content(measured, wanted)
    low, high = LEAST - 1, LEAST
    while not _holds(high, content, measured.inodes, wanted):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if _holds(middle, content, measured.inodes, wanted):
            high = middle
        else:
            low = middle
    return Size(high * BLOCK)


def _content(measured: Measured, wanted: Options) -> int:
    """Blocks for files, directories and attributes, with what it takes to find them."""
    usable = BLOCK - CHECKSUM - LONGEST  # the end of a directory's block stays empty
    listings = sum(
        1 + (2 * ENTRY + entries * ENTRY + names) // usable
        for entries, names in measured.directories
    )
    data = measured.data // BLOCK
    maps = measured.sparse // BLOCK // EXTENTS if wanted.extents else measured.indirect
    return data + data // 500 + maps + listings + measured.attribute_blocks + 16


def _holds(blocks: int, content: int, inodes: int, wanted: Options) -> bool:
    size = blocks * BLOCK
    total = wanted.inodes or size // (wanted.ratio or default_ratio(size))
    if total < inodes + RESERVED_INODES:
        return False
    groups = -(-blocks // GROUP)
    tables = groups * -(-max(16, -(-total // groups)) * wanted.inode_size // BLOCK)
    backups = (1 + _backups(groups)) * (1 + _descriptors(blocks, groups, wanted.resize))
    ragged = blocks % GROUP if blocks % GROUP < _ragged(tables, groups, backups) else 0
    free = blocks - tables - 2 * groups - backups - LOST_AND_FOUND - 2 - ragged
    journal = _journal(blocks, wanted)
    return free - journal >= max(content, journal + 16)  # mke2fs: no journal of more than half


def _ragged(tables: int, groups: int, backups: int) -> int:
    """A last group smaller than its own bookkeeping and 50 blocks is left out by mke2fs."""
    return tables // groups + 52 + backups if groups > 1 else 0


def _backups(groups: int) -> int:
    """Groups with a copy of the superblock: 1, and the powers of 3, 5 and 7."""
    powers = {base**exponent for base in (3, 5, 7) for exponent in range(23)}
    return sum(1 for group in powers if group < groups)


def _descriptors(blocks: int, groups: int, resize: int) -> int:
    """Blocks of group descriptors, and those kept for growing."""
    grown = max(resize, min(blocks * RESIZE_ROOM, 2**32))
    kept = -(-grown // (GROUP * DESCRIPTORS))
    return -(-groups // DESCRIPTORS) + min(kept, RESIZE_MOST)


def _journal(blocks: int, wanted: Options) -> int:
    if wanted.journal is not None:
        return -(-wanted.journal // BLOCK)
    return next(size for limit, size in JOURNALS if blocks < limit)


def _named(text: str, name: str) -> int | None:
    """The number in `name=number`, one of the settings in `text`."""
    settings = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    return _number(settings.get(name))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None

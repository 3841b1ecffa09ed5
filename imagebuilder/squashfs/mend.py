"""Makes what tar2sqfs has written with lz4 readable for all.

Up to version 1.2.0 it stores blocks that lz4 has made larger as if they were compressed. The
kernel reads them, but not unsquashfs, where they belong to one of the tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from imagebuilder.squashfs import superblock
from imagebuilder.squashfs.image import opened
from imagebuilder.squashfs.tables import BLOCK, RAW, Metadata, Read

NONE = 2**64 - 1  # where a table would begin that is not there


def mend(path: Path) -> None:
    """Store such blocks as they are: nothing else moves."""
    image = opened(path)
    if image.made.compressor != "lz4":
        return
    with path.open("r+b") as file:
        for place, size in _blocks(image.read):
            (length,) = struct.unpack("<H", image.read(place, 2))
            if size < length < RAW:
                content, _ = Metadata(image.read, "lz4").block(place)
                file.seek(place)
                file.write(struct.pack("<H", RAW | size) + content)


def _blocks(read: Read) -> Iterator[tuple[int, int]]:
    """Where the blocks of tables are that a list names, and what they hold, in bytes."""
    head = read(0, superblock.LENGTH)
    inodes, _, _, fragments = struct.unpack_from("<IIII", head, 4)
    (ids,) = struct.unpack_from("<H", head, 26)
    id_table, attributes, _, _, fragment_table, exports = struct.unpack_from("<6Q", head, 48)
    tables = [(id_table, 4 * ids), (fragment_table, 16 * fragments), (exports, 8 * inodes)]
    if attributes != NONE:
        _, count = struct.unpack("<QI", read(attributes, 12))
        tables.append((attributes + 16, 16 * count))
    for table, size in tables:
        blocks = -(-size // BLOCK) if table != NONE else 0
        places = struct.unpack(f"<{blocks}Q", read(table, 8 * blocks))
        for number, place in enumerate(places):
            yield place, min(BLOCK, size - number * BLOCK)

"""Which blocks of an ext filesystem go to whom.

Contents lie one after the other. Directories and the like are written at once, while contents
are not: they are kept together, apart from contents, so that few pages of the image are touched.
"""

from __future__ import annotations

from collections.abc import Iterator

from imagebuilder.filesystems.ext2fs import Filesystem

TOGETHER = 2 * 2**20  # bytes: a huge page


class Room:
    """The free blocks of a filesystem."""

    def __init__(self, filesystem: Filesystem) -> None:
        self.filesystem = filesystem
        self.together = TOGETHER // int(filesystem.fields.blocksize)
        self.next_content = 0
        self.next_description = self.end_of_descriptions = 0

    def for_content(self, count: int) -> Iterator[tuple[int, int]]:
        """Take `count` blocks for a file's content, as ranges: (first block, blocks)."""
        for first, blocks in self.filesystem.new_blocks(count, self.next_content):
            self.next_content = first + blocks
            yield first, blocks

    def for_description(self, count: int) -> Iterator[tuple[int, int]]:
        """Take `count` blocks for what is no file's content, likewise."""
        if self.next_description >= self.end_of_descriptions:
            self.next_description = self.next_content
            self.next_content += self.together
            self.end_of_descriptions = self.next_content
        for first, blocks in self.filesystem.new_blocks(count, self.next_description):
            self.next_description = first + blocks
            yield first, blocks

"""Looks at a few blocks of a disk in an image file, without unpacking all of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from imagebuilder.existing import source, table
from imagebuilder.existing.model import Contents
from imagebuilder.process import Command, Runner

BLOCK = 4096
AHEAD = 32  # blocks that are read at once: all superblocks that are looked for lie in as many


def load(image: Path, run: Runner) -> tuple[source.Info, Contents]:
    """What qemu-img says of the image, and what is on its disk; raise ConfigError."""
    told = source.inspect(image, run)
    if told.format == "raw":
        return told, table.load(image)
    with tempfile.TemporaryDirectory() as directory:
        blocks = _Blocks(image, told, Path(directory, "blocks"), run)
        return told, table.contents(blocks.read, told.size, str(image))


class _Blocks:
    """The disk, read some blocks at a time; what was read is kept."""

    def __init__(self, image: Path, told: source.Info, place: Path, run: Runner) -> None:
        self.image, self.told, self.place, self.run = image, told, place, run
        self.known: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """As `os.pread` does."""
        end = min(offset + length, self.told.size)
        first, last = offset // BLOCK, -(-end // BLOCK)
        content = b"".join(self._block(number) for number in range(first, last))
        return content[offset - first * BLOCK : end - first * BLOCK] if end > offset else b""

    def _block(self, number: int) -> bytes:
        if number not in self.known:
            self.run(self._piece(number * BLOCK))
            content = self.place.read_bytes()
            for index in range(AHEAD):
                piece = content[index * BLOCK : (index + 1) * BLOCK]
                self.known.setdefault(number + index, piece)
        return self.known[number]

    def _piece(self, start: int) -> Command:
        """The command that writes a piece of the disk to a file, as a disk of its own."""
        name = os.fspath(self.image.absolute()).replace(",", ",,")
        size = min(AHEAD * BLOCK, self.told.size - start)
        options = (
            "driver=raw", f"offset={start}", f"size={int(size)}",
            f"file.driver={self.told.format}", "file.file.driver=file",
            f"file.file.filename={name}",
        )  # fmt: skip
        words = ("qemu-img", "convert", "-O", "raw", "--image-opts", ",".join(options))
        return Command((*words, str(self.place)))

"""Filesystems that have no one place on the disk: in several pieces, or in a thin pool.

Each is made in a file of its own first. A thin pool gets what is not zero, chunk by chunk, and
the metadata that says so from thin_restore(8), which needs no device-mapper.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import holes
from imagebuilder.disk.model import Piece, Pool
from imagebuilder.errors import SpaceError
from imagebuilder.process import Command, Runner
from imagebuilder.sizes import Size


@dataclass(frozen=True, slots=True)
class Mapped:
    """Chunks of a thin volume and those of the pool that hold them, `count` in a row."""

    origin: int
    data: int
    count: int


def scatter(source: Path, pieces: Sequence[Piece], image: Path) -> None:
    """Write what `source` holds to its `pieces` of `image`, holes left out."""
    with source.open("rb") as file, image.open("r+b") as disk:
        for start, end in holes.extents(file.fileno()):
            for offset, place, size in _stretches(pieces, start, end):
                _send(file.fileno(), offset, disk.fileno(), (place, size))


def fill_pool(pool: Pool, files: Mapping[str, Path], image: Path, run: Runner) -> None:
    """Write thin volumes and their metadata; `files` has the content of those with any.

    Raise SpaceError if the pool is too small for all of them.
    """
    mappings: dict[str, tuple[Mapped, ...]] = {}
    taken = 0
    for name, _ in pool.volumes:
        if name in files:
            mappings[name] = tuple(_pour(files[name], pool, taken, image))
            taken += sum(mapped.count for mapped in mappings[name])
    directory = image.parent
    described, made = directory / f"{pool.name}.xml", directory / f"{pool.name}.thin"
    described.write_text(describe(pool, mappings))
    with made.open("wb") as file:
        file.truncate(sum(piece.size for piece in pool.metadata))
    run(Command(("thin_restore", "--input", str(described), "--output", str(made))))
    scatter(made, pool.metadata, image)
    described.unlink()
    made.unlink()


def describe(pool: Pool, mappings: Mapping[str, Sequence[Mapped]]) -> str:
    """The pool as thin_restore reads it; sizes are in chunks, the chunk's own in sectors."""
    total = sum(piece.size for piece in pool.data) // pool.chunk
    lines = [
        f'<superblock uuid="" time="0" transaction="{len(pool.volumes)}" flags="0" version="2"'
        f' data_block_size="{pool.chunk // 512}" nr_data_blocks="{total}">'
    ]
    for number, (name, _) in enumerate(pool.volumes):
        ranges = mappings.get(name, ())
        lines.append(
            f'<device dev_id="{number + 1}" mapped_blocks="{sum(each.count for each in ranges)}"'
            f' transaction="{number}" creation_time="0" snap_time="0">'
        )
        lines += [
            f'<range_mapping origin_begin="{each.origin}" data_begin="{each.data}"'
            f' length="{each.count}" time="0"/>'
            for each in ranges
        ]
        lines.append("</device>")
    return "".join(f"{line}\n" for line in (*lines, "</superblock>"))


def _pour(source: Path, pool: Pool, first: int, image: Path) -> Iterator[Mapped]:
    """Write the chunks that are not zero one after the other, from the pool's chunk `first` on."""
    chunk, total = int(pool.chunk), sum(piece.size for piece in pool.data)
    begun, count = 0, 0
    with source.open("rb") as file, image.open("r+b") as disk:
        for number in _chunks(file.fileno(), chunk):
            content = os.pread(file.fileno(), chunk, number * chunk)
            if not content.strip(b"\0"):
                continue
            if (first + 1) * chunk > total:
                raise SpaceError(
                    f"{Size(total)} are too few for what is in its volumes",
                    where=f"thin pool {pool.name}",
                    hint="make it larger",
                )
            for offset, place, size in _stretches(pool.data, first * chunk, (first + 1) * chunk):
                begin = offset - first * chunk
                os.pwrite(disk.fileno(), content[begin : begin + size], place)
            if count and number != begun + count:
                yield Mapped(begun, first - count, count)
                count = 0
            begun, count, first = (begun if count else number), count + 1, first + 1
    if count:
        yield Mapped(begun, first - count, count)


def _chunks(fd: int, chunk: int) -> Iterator[int]:
    """The numbers of the chunks that may hold something, in order."""
    after = 0
    for start, end in holes.extents(fd):
        yield from range(max(after, start // chunk), -(-end // chunk))
        after = -(-end // chunk)


def _stretches(pieces: Sequence[Piece], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Where bytes `start` to `end` go: (offset in the source, offset on the disk, length)."""
    begin = 0
    for piece in pieces:
        low, high = max(start, begin), min(end, begin + piece.size)
        if low < high:
            yield low, piece.offset + low - begin, high - low
        begin += piece.size


def _send(source: int, offset: int, target: int, to: tuple[int, int]) -> None:
    place, left = to
    os.lseek(target, place, os.SEEK_SET)
    while left:
        sent = os.sendfile(target, source, offset, left)
        offset, left = offset + sent, left - sent

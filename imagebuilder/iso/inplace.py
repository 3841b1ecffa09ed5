"""A copy of an ISO image with other contents in files that are there: what to write where.

A new content goes to where the old one is, or, if it is too long, into the zeros that pad the
volume; the records of the file say where and how long it is, from when, and whose, in every tree
that names it. Nothing else moves. Whatever starts the image and whatever covers it stays byte for
byte. What does not fit is for xorriso, which writes everything anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from imagebuilder.iso import hfsplus, records, rockridge, views
from imagebuilder.iso.model import BLOCK, SECTOR, Node
from imagebuilder.iso.tables import Read
from imagebuilder.iso.tree import Tree
from imagebuilder.iso.views import FileRecord, View

REGULAR = 0o100000
PLAIN_ID = re.compile(r"[ -~]+")
LAST = 2155  # the last year that fits a record's date
LONG_FORM = 0x80
BACKUP = 64 * 512  # bytes at the end of a disk with a GPT in which its second copy lies


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A new content, or the file that has it, and the permissions of the file."""

    content: bytes | Path
    mode: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Files with new contents by path, another volume id, a new EFI system partition's place."""

    files: Mapping[str, News] = field(default_factory=dict)
    volume_id: str = ""
    outside: Mapping[int, Path] = field(default_factory=dict)  # files that go to a byte as they are
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Bytes, or those of a file, that go to byte `place`, and zeros behind them up to `room`."""

    place: int
    content: bytes | Path
    room: int = 0


def writes(files: Tree, wanted: Wanted) -> list[Write]:
    """All that has to be written into the copy; raise ValueError if that will not do."""
    if files.iso.cut:
        raise ValueError("its padding is missing")
    with files.iso.path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        nodes = {path: _plain(files, path, news) for path, news in wanted.files.items()}
        _check_alone(files, nodes)
        places = _places(files, nodes, wanted.files, read)
        every = views.views(files.iso, read)
        begin = hfsplus.volume(files.iso, read)
        if wanted.volume_id and (begin is not None or not PLAIN_ID.fullmatch(wanted.volume_id)):
            raise ValueError("the volume id is not only in descriptors")
        if begin is not None and any(at != _start(nodes[path]) for path, at in places.items()):
            raise ValueError("the HFS+ catalog says where files are")
        news = {_start(nodes[path]): (each, places[path]) for path, each in wanted.files.items()}
        return [
            *(w for p, each in wanted.files.items() for w in _content(nodes[p], each, places[p])),
            *(Write(place=place, content=path) for place, path in wanted.outside.items()),
            *_volume_ids(every, wanted.volume_id),
            *_records(every, read, news, wanted.epoch),
            *_hfs(begin, read, news, wanted.epoch),
        ]


def _plain(files: Tree, path: str, news: News) -> Node:
    """The file at a path; raise ValueError unless it has one piece, and will have one."""
    node = files.nodes.get(path)
    if node is None or not node.is_file or node.packed or len(node.extents) != 1:
        raise ValueError(f"{path} is not a plain file in one piece")
    if not news.size or not node.size:
        raise ValueError(f"{path} has or had no content")
    return node


def _start(node: Node) -> int:
    return node.extents[0][0]


def _room(node: Node) -> int:
    return _sectors(node.extents[0][1])


def _sectors(length: int) -> int:
    return -(-length // SECTOR) * SECTOR


def _places(
    files: Tree, nodes: Mapping[str, Node], news: Mapping[str, News], read: Read
) -> dict[str, int]:
    """The first byte of each new content; raise ValueError if there is not room for all of them."""
    places = {path: _start(node) for path, node in nodes.items()}
    growing = [path for path in sorted(nodes) if news[path].size > _room(nodes[path])]
    place, end = _padding(files) if growing else (0, 0)
    begun = place
    for path in growing:
        places[path], place = place, place + _sectors(news[path].size)
    if place > end or read(begun, place - begun).strip(b"\0"):
        raise ValueError(f"{', '.join(growing)} does not fit where it is")
    return places


def _padding(files: Tree) -> tuple[int, int]:
    """Where the volume has nothing any more, and where it ends, or something else begins."""
    iso = files.iso
    named = [extent for node in files.nodes.values() for extent in node.extents]
    named += [(image.start, image.size) for image in iso.images]
    named += [(iso.catalog * SECTOR, SECTOR)]
    used = _sectors(max(start + length for start, length in named))
    ends = [iso.volume.blocks * SECTOR, iso.size]
    if any(part.table == "GPT" for part in iso.partitions):
        ends.append(iso.size - BACKUP)
    for part in iso.partitions:
        begin = part.start * BLOCK
        if 0 < begin <= views.FIRST * SECTOR:  # the volume, which can be mounted by this partition
            ends.append(part.end)
        elif begin >= used:
            ends.append(begin)
        elif part.end > used and begin:  # it may only look as if nothing were there
            ends.append(used)
    return used, min(ends)


def _check_alone(files: Tree, nodes: Mapping[str, Node]) -> None:
    """Raise ValueError if anything else lies where new contents go."""
    taken = sorted(
        (start, start + length, node.path)
        for node in files.nodes.values()
        for start, length in node.extents
        if length
    )
    last, before = 0, ""
    for start, end, path in taken:
        if start < last and (path in nodes or before in nodes):
            raise ValueError(f"{path} and {before} are at the same place")
        if -(-end // SECTOR) * SECTOR > last:
            last, before = -(-end // SECTOR) * SECTOR, path
    used = [image.start for image in files.iso.images]
    for path, node in nodes.items():
        start = _start(node)
        if any(start < place < start + _room(node) for place in used):
            raise ValueError(f"a boot image is inside {path}")


def _content(node: Node, news: News, place: int) -> Iterator[Write]:
    start, room = _start(node), _room(node)
    if place != start:
        yield Write(place=start, content=b"", room=room)  # nothing is left of what it was
        room = _sectors(news.size)
    yield Write(place=place, content=news.content, room=room)


def _volume_ids(every: list[View], volume_id: str) -> Iterator[Write]:
    if volume_id:
        for view in every:
            text = volume_id.encode("utf-16-be")[:32] if view.joliet else volume_id.encode()
            space = b"\0 " * 16 if view.joliet else b" " * 32
            yield Write(place=view.place + 40, content=text + space[len(text) :])


def _records(
    every: list[View], read: Read, news: Mapping[int, tuple[News, int]], epoch: int
) -> Iterator[Write]:
    for view in every:
        root = records.parse(next(raw for _, raw in records.split(read(*view.root))))
        skip = rockridge.skipped(root.area)
        for record in views.file_records(view, read):
            if record.start not in news or not record.size:
                continue
            if not record.whole:
                raise ValueError("a file is in several pieces")
            found, place = news[record.start]
            yield Write(place=record.place + 2, content=_both((place - view.base) // SECTOR))
            yield Write(place=record.place + 10, content=_both(found.size))
            yield Write(place=record.place + 18, content=_date(epoch))
            if not view.joliet:
                yield from _rock_ridge(record, skip, read, found.mode, epoch)


def _rock_ridge(
    record: FileRecord, skip: int, read: Read, mode: int, epoch: int
) -> Iterator[Write]:
    """A file's permissions, owner and dates (RRIP 1.12, 4.1.1 and 4.1.6)."""
    at = records.area(record.raw) + skip
    for name, body, place in rockridge.entries(record.raw[at:], record.place + at, read):
        if name == b"PX" and len(body) >= 32:
            yield Write(place=place, content=_both(REGULAR | mode))
            yield Write(place=place + 16, content=bytes(16))
        elif name == b"TF":
            if body[0] & LONG_FORM:
                raise ValueError("dates are in the long form")
            count = (len(body) - 1) // 7
            yield Write(place=place + 1, content=_date(epoch) * count)


def _hfs(
    begin: int | None, read: Read, news: Mapping[int, tuple[News, int]], epoch: int
) -> Iterator[Write]:
    if begin is None:
        return
    for file in hfsplus.files(begin, read):
        if file.start in news:
            for place, content in file.changed(news[file.start][0].size, epoch):
                yield Write(place=place, content=content)


def _both(number: int) -> bytes:
    """A number as ISO 9660 has it: in both byte orders."""
    return struct.pack("<I", number) + struct.pack(">I", number)


def _date(epoch: int) -> bytes:
    """A directory record's date (ECMA-119, 9.1.5)."""
    when = datetime.fromtimestamp(epoch, UTC)
    return bytes((
        min(when.year, LAST) - 1900,
        when.month,
        when.day,
        when.hour,
        when.minute,
        when.second,
        0,
    ))

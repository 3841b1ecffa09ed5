"""cpio's "newc" format, byte for byte (Linux, `buffer-format.rst`; cpio(5)).

A header of 110 characters with 13 numbers in hexadecimal, the name with a zero byte, the content;
name and content end at multiples of 4, counted from the beginning of the segment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from itertools import pairwise

from imagebuilder.codec.model import DamagedError, TruncatedError
from imagebuilder.initrd.model import NEWC, TRAILER, WITH_SUM, Archive, Entry

HEADER = 110
MAGICS = (NEWC, WITH_SUM)
BOUNDS = tuple(pairwise(range(6, HEADER + 1, 8)))
LONGEST_NAME = 4096 + 256
ZEROS = re.compile(rb"\0*")


def read_all(content: bytes) -> tuple[Archive, ...]:
    """The archives that make up the content of a segment.

    Raise TruncatedError or DamagedError if it ends within one, or holds something else.
    """
    archives, place = [], 0
    while place < len(content):
        archive, place = read(content, place)
        archives.append(archive)
    return tuple(archives)


def read(content: bytes, start: int) -> tuple[Archive, int]:
    """The archive at `start` (a multiple of 4) with the zero bytes after it, and where they end."""
    entries, place = [], start
    while True:
        entry, place = _entry(content, place)
        if entry.name == TRAILER:
            break
        entries.append(entry)
    found = ZEROS.match(content, place)
    end = found.end() if found else place
    return Archive(entries=tuple(entries), trailer=entry, padding=end - place), end


def write_all(archives: Iterable[Archive]) -> bytes:
    """The content of a segment."""
    return b"".join(write(archive) for archive in archives)


def write(archive: Archive) -> bytes:
    """An archive with its padding; the same bytes that it was read from."""
    pieces: list[bytes] = []
    for entry in (*archive.entries, archive.trailer):
        pieces += _bytes(entry)
    pieces.append(bytes(archive.padding))
    return b"".join(pieces)


def _entry(content: bytes, place: int) -> tuple[Entry, int]:
    header = content[place : place + HEADER]
    if len(header) < HEADER and any(magic.startswith(header[:6]) for magic in MAGICS):
        raise TruncatedError
    if header[:6] not in MAGICS:
        raise DamagedError(f"no cpio header at byte {place} of it")
    try:
        fields = [int(header[begin:end], 16) for begin, end in BOUNDS]
    except ValueError as error:
        raise DamagedError(f"bad cpio header at byte {place} of it") from error
    named, sized = fields[11], fields[6]
    if named > LONGEST_NAME:
        raise DamagedError(f"a name of {named} bytes at byte {place} of it")
    name = content[place + HEADER : place + HEADER + named]
    begin = _aligned(place + HEADER + named)
    body = content[begin : begin + sized]
    if len(name) < named or len(body) < sized:
        raise TruncatedError
    entry = Entry(
        name=os.fsdecode(name.rstrip(b"\0")),
        slack=max(0, len(name) - len(name.rstrip(b"\0")) - 1),
        magic=header[:6],
        ino=fields[0],
        mode=fields[1],
        uid=fields[2],
        gid=fields[3],
        nlink=fields[4],
        mtime=fields[5],
        device=(fields[7], fields[8]),
        rdev=(fields[9], fields[10]),
        check=fields[12],
        content=body,
    )
    return entry, min(_aligned(begin + sized), len(content))


def _bytes(entry: Entry) -> tuple[bytes, ...]:
    name = _name(entry)
    numbers = (
        entry.ino, entry.mode, entry.uid, entry.gid, entry.nlink, entry.mtime, len(entry.content),
        *entry.device, *entry.rdev, len(name), _sum(entry),
    )  # fmt: skip
    header = entry.magic + b"".join(b"%08X" % number for number in numbers) + name
    return header, bytes(-len(header) % 4), entry.content, bytes(-len(entry.content) % 4)


def _name(entry: Entry) -> bytes:
    return os.fsencode(entry.name) + bytes(1 + entry.slack)


def _sum(entry: Entry) -> int:
    if entry.magic == WITH_SUM and stat.S_ISREG(entry.mode):
        return sum(entry.content) % 2**32
    return entry.check


def _aligned(place: int) -> int:
    return place + -place % 4

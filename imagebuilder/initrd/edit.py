"""Changes of an initrd: each takes one and gives another.

Only the segments that change are written anew, in their own compression; early microcode stays
first and as it is.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from imagebuilder.codec import table
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import load, newc, rootfs
from imagebuilder.initrd.additions import numbered, overlay, placed
from imagebuilder.initrd.model import RAW, Archive, Entry, Initrd, Segment
from imagebuilder.initrd.rootfs import Rootfs

ROUND = 512


def append(data: bytes, wanted: Iterable[Entry], where: str, kind: str = "") -> bytes:
    """The initrd with one more segment that has these files, `data` itself unchanged.

    `kind` is its compression, by default that of the last segment. Raise ConfigError if the
    kernel would not read that far.
    """
    initrd = load.load(data, where)
    for index, segment in enumerate(initrd.segments):
        if segment.objection:
            raise ConfigError(
                f"the kernel would not read what follows segment {index + 1}: {segment.objection}",
                where=where,
                hint="'imagebuilder initrd edit' writes it anew",
            )
    root = rootfs.of(initrd)
    entries = placed(root, wanted, where)
    if not entries:
        raise ConfigError("nothing to add: all of it is there already", where=where)
    content = newc.write(rounded(overlay(root, entries)))
    last = initrd.segments[-1]
    chosen = kind or (RAW if last.early else last.kind)
    like = last.raw if chosen == last.kind else b""
    new = content if chosen == RAW else table.BY_NAME[chosen].pack(content, like)
    end = len(data) - initrd.after
    zeros = max(load.gap(end, last.kind), initrd.after + -len(data) % 4)
    return data[:end] + bytes(zeros) + new


def add(initrd: Initrd, wanted: Iterable[Entry]) -> Initrd:
    """The initrd with these files, instead of what has their names now."""
    root = rootfs.of(initrd)
    entries = placed(root, wanted, initrd.where)
    there = [entry.name for entry in entries if entry.name in root]
    return _extended(_without(initrd, root, there), entries)


def delete(initrd: Initrd, path: str) -> Initrd:
    """The initrd without what is at `path`, a whole directory maybe.

    Raise ConfigError if there is nothing.
    """
    root = rootfs.of(initrd)
    real = root.real(path, follow=False)
    if real not in root:
        raise ConfigError(f"{path} is not in it", where=initrd.where, hint=root.near(path))
    return _without(initrd, root, [real, *root.below(real)])


def change(initrd: Initrd, path: str, how: Callable[[bytes], bytes]) -> Initrd:
    """The initrd with other content in the file that `path` leads to, under all its names."""
    root = rootfs.of(initrd)
    real, file = root.find(path, initrd.where)
    if not stat.S_ISREG(file.mode) or file.source is None:
        raise ConfigError(f"{real} is no regular file", where=initrd.where)
    place = file.source
    archive = initrd.segments[place.segment].archives[place.archive]
    entry = replace(archive.entries[place.entry], content=how(file.content))
    entries = (*archive.entries[: place.entry], entry, *archive.entries[place.entry + 1 :])
    return _with_entries(initrd, place.segment, place.archive, entries)


def converted(initrd: Initrd, kind: str) -> Initrd:
    """The same files, every segment but the early ones compressed as `kind`."""
    segments = tuple(
        segment
        if segment.early or segment.kind == kind
        else replace(segment, kind=kind, raw=b"", changed=True)
        for segment in initrd.segments
    )
    return replace(initrd, segments=segments)


def mended(initrd: Initrd) -> Initrd:
    """The same with every segment that the kernel would not read to be written anew."""
    segments = tuple(replace(s, changed=s.changed or bool(s.objection)) for s in initrd.segments)
    return replace(initrd, segments=segments)


def rounded(archive: Archive) -> Archive:
    """The archive with as many zero bytes at its end as cpio writes."""
    bare = replace(archive, padding=0)
    return replace(archive, padding=-len(newc.write(bare)) % ROUND)


def _extended(initrd: Initrd, entries: Sequence[Entry]) -> Initrd:
    if initrd.main == len(initrd.segments):
        archive = rounded(Archive(entries=tuple(numbered(entries, 1))))
        new = Segment(kind=RAW, start=-1, before=0, raw=b"", archives=(archive,), changed=True)
        return replace(initrd, segments=(*initrd.segments, new))
    segment = initrd.segments[initrd.main]
    index = len(segment.archives) - 1
    older = segment.archives[index].entries
    first = max((entry.ino for entry in older), default=0) + 1
    return _with_entries(initrd, initrd.main, index, (*older, *numbered(entries, first)))


def _without(initrd: Initrd, root: Rootfs, paths: Iterable[str]) -> Initrd:
    """Without any entry that has one of these real paths."""
    gone = set(paths)
    dropped: dict[tuple[int, int], set[int]] = {}
    for place, path in root.places.items():
        if path in gone:
            dropped.setdefault((place.segment, place.archive), set()).add(place.entry)
    for (segment, index), indices in dropped.items():
        entries = initrd.segments[segment].archives[index].entries
        left = _kept(entries, indices)
        initrd = _with_entries(initrd, segment, index, left)
    return initrd


def _kept(entries: Sequence[Entry], dropped: set[int]) -> tuple[Entry, ...]:
    """The entries that are left, with the content and number of links of their files."""
    groups: dict[tuple[int, int, int, int], list[int]] = {}
    for index, entry in enumerate(entries):
        if entry.linked:
            groups.setdefault(entry.identity, []).append(index)
    changed = dict(enumerate(entries))
    for members in groups.values():
        left = [index for index in members if index not in dropped]
        if left and len(left) < len(members):
            content = next(
                (entries[i].content for i in reversed(members) if entries[i].content), b""
            )
            for index in left:
                body = content if index == left[-1] else b""
                changed[index] = replace(entries[index], nlink=len(left), content=body)
    return tuple(entry for index, entry in changed.items() if index not in dropped)


def _with_entries(initrd: Initrd, segment: int, index: int, entries: tuple[Entry, ...]) -> Initrd:
    old = initrd.segments[segment]
    archive = replace(old.archives[index], entries=entries)
    if old.kind != RAW:
        archive = rounded(archive)
    return initrd.with_segment(segment, old.with_archive(index, archive))

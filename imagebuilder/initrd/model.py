"""Initrds as frozen values: entries of archives, archives of segments."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace

RAW = "cpio"  # the kind of a segment that is not compressed
EARLY = ("kernel/x86/", "kernel/firmware/acpi/")  # what the kernel reads before it unpacks
TRAILER = "TRAILER!!!"
NEWC, WITH_SUM = b"070701", b"070702"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a cpio archive in the "newc" format, or one that is to become one.

    `slack` counts zero bytes after the name that the archive counts as part of it.
    """

    name: str  # undecodable bytes as surrogates, as in os.fsdecode
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    content: bytes = b""
    ino: int = 0
    nlink: int = 1
    device: tuple[int, int] = (0, 0)
    rdev: tuple[int, int] = (0, 0)
    magic: bytes = NEWC
    check: int = 0
    slack: int = 0

    @property
    def kind(self) -> int:
        """The type bits of the mode."""
        return stat.S_IFMT(self.mode)

    @property
    def linked(self) -> bool:
        """Whether the kernel looks for other names of the same file."""
        return self.nlink > 1 and not stat.S_ISDIR(self.mode)

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What is the same for all names of one file, within one archive."""
        return (*self.device, self.ino, self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One cpio archive; `padding` counts the zero bytes after its trailer."""

    entries: tuple[Entry, ...]
    trailer: Entry = Entry(name=TRAILER, mode=0)
    padding: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One piece of an initrd: `raw` as it is in the file, unless it was changed.

    `before` counts the zero bytes in front of it. `objection` says why the kernel would not read
    it and what follows it.
    """

    kind: str
    start: int
    before: int
    raw: bytes
    archives: tuple[Archive, ...]
    objection: str = ""
    changed: bool = False

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return sum(len(archive.entries) for archive in self.archives)

    @property
    def early(self) -> bool:
        """Whether the kernel looks into it before it unpacks anything."""
        names = (e.name for a in self.archives for e in a.entries)
        return self.kind == RAW and any(name.startswith(EARLY) for name in names)

    def with_archive(self, index: int, archive: Archive) -> Segment:
        """The same with one archive changed."""
        archives = (*self.archives[:index], archive, *self.archives[index + 1 :])
        return replace(self, archives=archives, changed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Initrd:
    """A whole initrd; `where` names it in errors."""

    where: str
    segments: tuple[Segment, ...]
    after: int = 0  # zero bytes after the last segment

    @property
    def main(self) -> int:
        """The index of the segment that new files belong in: the last that is not early."""
        late = [index for index, segment in enumerate(self.segments) if not segment.early]
        return late[-1] if late else len(self.segments)

    def with_segment(self, index: int, segment: Segment) -> Initrd:
        """The same with one segment changed."""
        segments = (*self.segments[:index], segment, *self.segments[index + 1 :])
        return replace(self, segments=segments)

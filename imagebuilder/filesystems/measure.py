"""What a tree needs of a filesystem, found out in one walk, so that sizes need no guessing."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder import holes

BLOCK = 4096
SAMPLES = 5
IN_1980 = 315532800  # seconds since 1970
DIRECT, INDIRECT = 12, 1024  # blocks that an inode without extents names, and a block does
IN_INODE = 80  # bytes of extended attributes that surely fit in a 256-byte inode
FAST_SYMLINK = 60  # from this many bytes on, a symlink's target takes a block
ENTRY, PAIR = 16, 20  # what an attribute takes besides its name and value, and how they are padded
ACLS = ("system.posix_acl_access", "system.posix_acl_default")

ACL = "ACLs"
ATTRIBUTE = "extended attributes"
BEFORE_1970 = "times before 1970"
BEFORE_1980 = "times before 1980"
AFTER_2037 = "times after 2037"
OUT_OF_RANGE = "times before 1901 or after 2446"
NANOSECONDS = "fractions of a second"
HARD_LINK = "hard links"
SYMLINK = "symlinks"
SOCKET = "sockets"
FIFO = "named pipes"
DEVICE = "devices"
OWNER = "owners other than root"
SPECIAL = {
    stat.S_IFLNK: SYMLINK,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFIFO: FIFO,
    stat.S_IFBLK: DEVICE,
    stat.S_IFCHR: DEVICE,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """Something in a tree that a filesystem cannot keep: how often, and the first few paths."""

    what: str
    count: int
    paths: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.paths) else ""
        return f"{self.count} {self.what}: {', '.join(map(repr, self.paths))}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A tree in numbers; bytes are counted in whole 4 KiB blocks, and hard links once.

    `directories` has the number of entries and the bytes of their names for each directory.
    `apparent` is what `du -x` says of the tree on a filesystem with 4 KiB blocks.
    """

    inodes: int
    files: int  # names of regular files, every hard link counted
    data: int  # contents without holes, and long symlinks
    expanded: int  # contents with holes filled, every hard link counted
    sparse: int  # the part of `data` in files with holes
    indirect: int = 0  # blocks that map the contents where there are no extents (ext2, ext3)
    directories: tuple[tuple[int, int], ...]
    attributes: int  # bytes of extended attributes
    attribute_blocks: int  # inodes whose attributes may need a block of their own
    apparent: int
    found: Mapping[str, Loss] = field(default_factory=dict)

    def losses(self, *kinds: str) -> tuple[Loss, ...]:
        """Those of `kinds` that the tree has."""
        return tuple(self.found[kind] for kind in kinds if kind in self.found)


def measure(tree: Path, *, without: Collection[str] = ()) -> Measured:
    """Walk `tree`; of what is in `without` (like `/boot/efi`) only the directory itself counts."""
    walk = _Walk(os.fspath(tree), {path.strip("/") for path in without})
    walk.inode("", os.fspath(tree), os.lstat(tree))
    waiting = [""]
    while waiting:
        waiting.extend(reversed(walk.directory(waiting.pop())))
    return walk.measured()


class _Walk:
    """The counters of one walk."""

    def __init__(self, tree: str, without: Collection[str]) -> None:
        self.tree, self.without = tree, without
        self.inodes = self.files = self.data = self.expanded = self.sparse = self.indirect = 0
        self.attributes = self.attribute_blocks = 0
        self.directories: list[tuple[int, int]] = []
        self.linked: set[tuple[int, int]] = set()
        self.count: defaultdict[str, int] = defaultdict(int)
        self.paths: defaultdict[str, list[str]] = defaultdict(list)

    def directory(self, path: str) -> list[str]:
        """Count what is in the directory at `path`; return the directories in it."""
        below: list[str] = []
        names = 0
        with os.scandir(f"{self.tree}/{path}" if path else self.tree) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            name = f"{path}/{entry.name}" if path else entry.name
            names += len(entry.name if entry.name.isascii() else os.fsencode(entry.name))
            self.inode(name, entry.path, entry.stat(follow_symlinks=False))
            if entry.is_dir(follow_symlinks=False):
                if name in self.without:
                    self.directories.append((0, 0))
                else:
                    below.append(name)
        self.directories.append((len(listed), names))
        return below

    def inode(self, name: str, path: str, status: os.stat_result) -> None:
        """Count one name and, unless another name was there first, its inode."""
        regular = stat.S_ISREG(status.st_mode)
        if regular:
            self.files += 1
            self.expanded += _blocks(status.st_size)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in self.linked:
                self.note(HARD_LINK, name)
                return
            self.linked.add(identity)
        self.inodes += 1
        if regular:
            self.content(path, status)
        else:
            self.special(name, status)
        self.oddities(name, path, status)

    def content(self, path: str, status: os.stat_result) -> None:
        """Count a regular file's blocks, with care where it has holes or may be compressed."""
        data = _blocks(status.st_size)
        if status.st_blocks * 512 < status.st_size:
            data = sum(n for _, n in holes.blocks(path, status.st_size, BLOCK)) * BLOCK
            self.sparse += data
        self.data += data
        if status.st_size > DIRECT * BLOCK:
            self.indirect += _indirect(status.st_size, data)

    def special(self, name: str, status: os.stat_result) -> None:
        """Count what is neither a regular file nor a directory."""
        kind = SPECIAL.get(stat.S_IFMT(status.st_mode))
        if kind:
            self.note(kind, name)
        if kind is SYMLINK and status.st_size >= FAST_SYMLINK:
            self.data += BLOCK

    def oddities(self, name: str, path: str, status: os.stat_result) -> None:
        """Count times, owners and attributes that not every filesystem has room for."""
        if not IN_1980 * 10**9 <= status.st_mtime_ns < 2**31 * 10**9 or status.st_mtime_ns % 10**9:
            for kind in _odd_times(status.st_mtime_ns):
                self.note(kind, name)
        if status.st_uid or status.st_gid:
            self.note(OWNER, name)
        names = _attribute_names(path)
        if names:
            self.attribute(name, path, names)

    def attribute(self, name: str, path: str, names: Collection[str]) -> None:
        """Count an inode's extended attributes."""
        if any(attribute in ACLS for attribute in names):
            self.note(ACL, name)
        if any(attribute not in ACLS for attribute in names):
            self.note(ATTRIBUTE, name)
        size = sum(
            PAIR + len(attribute) + len(os.getxattr(path, attribute, follow_symlinks=False))
            for attribute in names
        )
        self.attributes += size
        self.attribute_blocks += size > IN_INODE

    def note(self, kind: str, name: str) -> None:
        """One more of `kind`."""
        self.count[kind] += 1
        if len(self.paths[kind]) < SAMPLES:
            self.paths[kind].append(f"/{name}")

    def measured(self) -> Measured:
        """The result."""
        listings = sum(_blocks(12 * entries + names + 24) for entries, names in self.directories)
        return Measured(
            inodes=self.inodes,
            files=self.files,
            data=self.data,
            expanded=self.expanded,
            sparse=self.sparse,
            indirect=self.indirect,
            directories=tuple(self.directories),
            attributes=self.attributes,
            attribute_blocks=self.attribute_blocks,
            apparent=self.data + listings + self.attribute_blocks * BLOCK,
            found={
                kind: Loss(kind, self.count[kind], tuple(self.paths[kind]))
                for kind in sorted(self.count)
            },
        )


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _indirect(size: int, data: int) -> int:
    """Indirect blocks of all levels, unless holes make even fewer of them necessary."""
    total, blocks = 0, size // BLOCK + 1 - DIRECT
    while blocks > 0:
        blocks = -(-blocks // INDIRECT) if blocks > 1 else 0
        total += blocks
    return min(total + 2, 3 * data // BLOCK)


def _odd_times(nanoseconds: int) -> tuple[str, ...]:
    seconds, fraction = divmod(nanoseconds, 10**9)
    kinds = {
        BEFORE_1970: seconds < 0,
        BEFORE_1980: seconds < IN_1980,
        AFTER_2037: seconds >= 2**31,
        OUT_OF_RANGE: not -(2**31) <= seconds < 2**34 - 2**31,
        NANOSECONDS: fraction > 0,
    }
    return tuple(kind for kind, is_so in kinds.items() if is_so)


def _attribute_names(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # a filesystem without any
        return []

"""New files of an initrd, put where the kernel will find them.

An entry for a directory that the initrd has as a symlink (`lib`, where `/usr` is merged) would
make the kernel replace the symlink and lose everything behind it. So additions follow the symlinks
that are there, leave out directories that are there, and bring those that are not.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.rootfs import File, Rootfs, ancestors

DIRECTORY = stat.S_IFDIR | 0o755


def placed(root: Rootfs, wanted: Iterable[Entry], where: str) -> list[Entry]:
    """Entries for new files, in an order in which the kernel can make them.

    Their names are real paths. Directories that exist are left out. Raise ConfigError if a file
    would have to be a directory, or the other way round.
    """
    made: dict[str, Entry] = {}
    for entry in wanted:
        path = root.real(entry.name, follow=stat.S_ISDIR(entry.mode))
        for directory in ancestors(path):
            parent = Entry(name=directory, mode=DIRECTORY, mtime=entry.mtime)
            _directory(root, made, parent, where)
        if stat.S_ISDIR(entry.mode):
            _directory(root, made, replace(entry, name=path), where)
        elif path in root and stat.S_ISDIR(root.files[path].mode):
            what = f"{path} is a directory in it, and cannot become a file"
            raise ConfigError(what, where=where, hint=f"delete it first, or add to {path}/")
        else:
            made.pop(path, None)
            made[path] = replace(entry, name=path)
    return list(made.values())


def overlay(root: Rootfs, entries: Sequence[Entry]) -> Archive:
    """An archive that adds `entries` to what is there when the kernel unpacks it.

    The kernel writes a regular file over one of the same name, which changes its other names too,
    and leaves a device as it is. A symlink of that name goes first: it makes the kernel take the
    name away from what is there.
    """
    made: list[Entry] = []
    for entry in entries:
        if (there := root.files.get(entry.name)) and _sticks(there, entry):
            made.append(replace(entry, mode=stat.S_IFLNK | 0o777, content=b"/", nlink=1))
        made.append(entry)
    return Archive(entries=tuple(numbered(made, 1)))


def _sticks(there: File, entry: Entry) -> bool:
    """Whether an entry of the same type would not simply replace what is there."""
    if stat.S_IFMT(there.mode) != entry.kind or stat.S_ISLNK(entry.mode):
        return False
    return len(there.names) > 1 if stat.S_ISREG(entry.mode) else True


def numbered(entries: Sequence[Entry], first: int) -> list[Entry]:
    """The same with inode numbers from `first` on, one for all names of a file.

    Of the names of a file, the last brings the content, as cpio has it.
    """
    names = Counter(entry.identity for entry in entries if entry.linked)
    left = Counter(names)
    numbers: dict[tuple[int, int, int, int], int] = {}
    free = count(first)
    made = []
    for entry in entries:
        key, several = entry.identity, entry.linked and names[entry.identity] > 1
        number = (numbers.get(key) if several else None) or next(free)
        plain = replace(entry, ino=number, device=(0, 0), nlink=names[key] if several else 1)
        if several:
            numbers[key] = number
            left[key] -= 1
            plain = plain if not left[key] else replace(plain, content=b"")
        made.append(plain)
    return made


def _directory(root: Rootfs, made: dict[str, Entry], entry: Entry, where: str) -> None:
    path = entry.name
    there = root.files.get(path)
    if there is not None and not stat.S_ISDIR(there.mode):
        raise ConfigError(f"{path} is a file in it, not a directory", where=where)
    if path in made and not stat.S_ISDIR(made[path].mode):
        raise ConfigError(f"{path} is added both as a file and as a directory", where=where)
    if there is None and path not in made and path:
        made[path] = entry

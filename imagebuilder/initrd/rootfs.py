"""The root filesystem that the kernel makes of an initrd, worked out without making it.

It follows `init/initramfs.c`: entries are taken in order; one of another type than what is there
replaces it (a directory only if it is empty); a regular file is written over, under all its names;
a file whose directory is missing is not made, without a word. Symlinks on the way are followed.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.model import Entry, Initrd

MOST_LINKS = 40  # MAXSYMLINKS
BUILT_IN = ("dev", "root")  # directories that the kernel itself brings (usr/default_cpio_list)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry is: indices of the segment, of the archive in it, of the entry in that."""

    segment: int
    archive: int
    entry: int


@dataclass(slots=True)
class File:
    """A file of any type, under one name or several.

    `source` is the entry that its content comes from, if it has any.
    """

    mode: int
    uid: int
    gid: int
    mtime: int
    rdev: tuple[int, int] = (0, 0)
    content: bytes = b""
    source: Place | None = None
    names: set[str] = field(default_factory=set)
    size: int = 0  # where the content was not read

    @property
    def target(self) -> str:
        """What a symlink points to."""
        return self.content.decode(errors="surrogateescape")


class Rootfs:
    """Files by path (without a slash in front). `lost` are entries that the kernel cannot make."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.lost: list[tuple[Place, str]] = []
        self.places: dict[Place, str] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def find(self, path: str, where: str) -> tuple[str, File]:
        """The file that `path` leads to, and its real path; raise ConfigError if there is none."""
        real = self.real(path)
        if real not in self.files:
            leads = "" if real == "/".join(parts(path)) else f" leads to {real}, which"
            raise ConfigError(f"{path}{leads} is not in it", where=where, hint=self.near(real))
        return real, self.files[real]

    def real(self, path: str, *, follow: bool = True) -> str:
        """Where `path` leads when symlinks are followed; what does not exist is kept as it is.

        Without `follow` a symlink at the very end is not followed. Raise ConfigError for a loop.
        """
        waiting, done, links = list(reversed(parts(path))), list[str](), 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            file = self.files.get("/".join((*done, part)))
            if file is None or not stat.S_ISLNK(file.mode) or not (waiting or follow):
                done.append(part)
                continue
            if (links := links + 1) > MOST_LINKS:
                raise ConfigError("symlinks lead in a circle", where=path)
            done = [] if file.target.startswith("/") else done
            waiting += reversed(parts(file.target))
        return "/".join(done)

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at that real path."""
        if path in ("", *BUILT_IN):
            return True
        return path in self.files and stat.S_ISDIR(self.files[path].mode)

    def below(self, path: str) -> list[str]:
        """The real paths of all that is in a directory."""
        return [name for name in self.files if name.startswith(f"{path}/")]

    def near(self, path: str) -> str:
        """A hint that names files like `path`, or nothing."""
        name = path.rpartition("/")[2]
        same = sorted(p for p in self.files if p.rpartition("/")[2] == name)[:3]
        return f"there is {' and '.join(same)}" if same else "'ls' lists what is there"


def of(initrd: Initrd) -> Rootfs:
    """What the kernel makes of it."""
    root = Rootfs()
    for index, segment in enumerate(initrd.segments):
        for number, archive in enumerate(segment.archives):
            links: dict[tuple[int, int, int, int], str] = {}
            for count, entry in enumerate(archive.entries):
                _add(root, entry, Place(index, number, count), links)
    return root


def parts(path: str) -> list[str]:
    """The components of a path that are names or `..`."""
    return [part for part in path.split("/") if part not in ("", ".")]


def ancestors(path: str) -> Iterator[str]:
    """The directories above a real path, outermost first."""
    names = path.split("/")
    return ("/".join(names[:depth]) for depth in range(1, len(names)))


def _add(
    root: Rootfs, entry: Entry, place: Place, links: dict[tuple[int, int, int, int], str]
) -> None:
    path = root.real(entry.name, follow=False)
    root.places[place] = path
    if not path:
        return
    if entry.content and not (stat.S_ISREG(entry.mode) or stat.S_ISLNK(entry.mode)):
        root.lost.append((place, "it is no file and yet has content"))
        return
    if not root.is_directory(path.rpartition("/")[0]):
        root.lost.append((place, "its directory is missing"))
        return
    _clear(root, path, entry)
    if (first := links.get(entry.identity)) and entry.linked and first in root.files:
        _link(root, path, first)
    elif entry.linked:
        links[entry.identity] = path
    _write(root, path, entry, place)


def _clear(root: Rootfs, path: str, entry: Entry) -> None:
    """Remove what is there if it is of another type, as `clean_path` does."""
    there = root.files.get(path)
    if there is None or (stat.S_IFMT(there.mode) == entry.kind and not stat.S_ISLNK(entry.mode)):
        return
    if not (stat.S_ISDIR(there.mode) and root.below(path)):
        remove(root, path)


def remove(root: Rootfs, path: str) -> None:
    """Take a name away, and the file with its last one."""
    root.files.pop(path).names.discard(path)


def _link(root: Rootfs, path: str, first: str) -> None:
    if path in root.files:
        remove(root, path)
    root.files[path] = root.files[first]
    root.files[path].names.add(path)


def _write(root: Rootfs, path: str, entry: Entry, place: Place) -> None:
    file = root.files.get(path)
    if file is None:
        file = root.files[path] = File(entry.mode, entry.uid, entry.gid, entry.mtime, entry.rdev)
        file.names.add(path)
    elif stat.S_IFMT(file.mode) != entry.kind:
        root.lost.append((place, "a directory that is not empty is in its place"))
        return
    file.mode, file.uid, file.gid, file.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
    if entry.content or not entry.linked:
        file.content, file.source = entry.content, place

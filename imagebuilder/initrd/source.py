"""Files of the host as entries: what somebody wants to have in an initrd."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import Rootfs


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A file or directory of the host, and the path that it is to have."""

    source: Path
    path: str

    @classmethod
    def parse(cls, text: str) -> Wish:
        """Read `SOURCE:PATH`, where `PATH` may end in `/`; raise ConfigError otherwise."""
        source, colon, path = text.rpartition(":")
        if not colon or not source or not path:
            raise ConfigError(f"not a file and a path: {text!r}", hint="write it SOURCE:PATH")
        return cls(source=Path(source), path=path)


def load(wish: Wish, root: Rootfs, epoch: int) -> list[Entry]:
    """Entries for a wish: owned by root, dated `epoch`, modes as they are on the host.

    A file whose path ends in `/` or is a directory of the initrd keeps its own name in it. Raise
    ConfigError for what cannot be read.
    """
    try:
        found = wish.source.lstat()
        path = wish.path.strip("/")
        inside = wish.path.endswith("/") or root.is_directory(root.real(path))
        if not stat.S_ISDIR(found.st_mode) and inside:
            path = f"{path}/{wish.source.name}"
        return [entry for entry in _entries(wish.source, path.strip("/"), epoch) if entry.name]
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ConfigError(what, where=error.filename or str(wish.source)) from error


def measure(wishes: Iterable[Wish]) -> int:
    """The bytes of all regular files that are to be added; what cannot be read counts nothing."""
    tops = [wish.source for wish in wishes]
    files = [file for top in tops for file in (top, *top.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def _entries(source: Path, path: str, epoch: int) -> Iterator[Entry]:
    entry = _entry(source, path, epoch)
    yield entry
    if stat.S_ISDIR(entry.mode):
        for inner in sorted(source.iterdir()):
            yield from _entries(inner, f"{path}/{inner.name}".lstrip("/"), epoch)


def _entry(source: Path, path: str, epoch: int) -> Entry:
    found = source.lstat()
    mode = found.st_mode
    entry = Entry(name=path, mode=mode, mtime=epoch)
    if stat.S_ISREG(mode):
        several = found.st_nlink > 1
        identity = (found.st_dev & 0xFFFFFFFF, 0) if several else (0, 0)
        return replace(
            entry,
            content=source.read_bytes(),
            nlink=found.st_nlink,
            ino=found.st_ino,
            device=identity,
        )
    if stat.S_ISLNK(mode):
        return replace(entry, content=os.fsencode(source.readlink()))
    if stat.S_ISSOCK(mode):
        raise ConfigError("is a socket, which no archive can hold", where=str(source))
    return replace(entry, rdev=(os.major(found.st_rdev), os.minor(found.st_rdev)))

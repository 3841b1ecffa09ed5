"""What builds have put outside, so that a build of the same need not make it again.

    <key>.json   the files with what they looked like, and small files beside them as they are
    <key>.<n>    another name (hard link) of the n-th file, where the filesystem allows it
    <key>.<n>.index   what the format wants to know of that file when it makes another one

A file is the one that was made if nothing about its inode has changed. After a change that may be
one of names only, its content tells. Whatever is not as it was counts as absent.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from imagebuilder import holes
from imagebuilder.cache.entry import decode, encode
from imagebuilder.cache.model import DamagedError, Earlier, Limits, checked_key, is_key, seen
from imagebuilder.sizes import Size

NOTHING: Mapping[Path, bytes] = MappingProxyType({})


class Made(NamedTuple):
    """A file that was just made: `holes.digest` of it, and when it was last modified, in ns."""

    path: Path
    content: str
    modified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that was made; `path` is where it was put."""

    path: str
    size: int
    inode: int
    modified: int  # in ns, as the next
    changed: int
    content: str  # what `holes.digest` says of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of a build, and by their paths the contents of small files beside them."""

    files: tuple[File, ...]
    beside: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class OutputStore:
    """Outputs by the ids of what they were made from; nothing of it can fail a build."""

    root: Path

    def keep(
        self,
        key: str,
        made: Sequence[Made],
        beside: Mapping[str, bytes],
        indices: Mapping[Path, bytes] = NOTHING,
    ) -> None:
        """Write down what was made, and hold on to it; `indices` are of some of the paths.

        What somebody has changed since is not kept.
        """
        with suppress(OSError):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number, (path, _, _) in enumerate(made):
                self._link(path, self.link(key, number))
                if path in indices:
                    self._put(self._index(key, number), indices[path])
            files = tuple(map(_described, made))
            if [file.modified for file in files] == [file.modified for file in made]:
                self._write(key, Outputs(files=files, beside=beside))
            else:
                self.remove(key)

    def find(self, key: str, *, use: bool = True) -> Outputs | None:
        """What is known of the outputs with this id; with `use` that counts as a use of them."""
        try:
            fields = decode(self._meta(key).read_bytes())
            if use:
                os.utime(self._meta(key))
            return Outputs(
                files=tuple(File(**file) for file in fields["files"]),
                beside={path: base64.b64decode(text) for path, text in fields["beside"].items()},
            )
        except (OSError, DamagedError, KeyError, TypeError, ValueError):
            return None

    def indexed(self, most: int) -> tuple[Earlier, ...]:
        """Files that are as they were when they were made, and their indices; the newest last."""
        found: list[Earlier] = []
        for key in reversed(self.entries()):
            outputs = self.find(key, use=False)
            for number, file in enumerate(outputs.files if outputs else ()):
                link, index = self.link(key, number), self._index(key, number)
                if len(found) == most or not (index.exists() and link.exists()):
                    continue
                then = seen(link.lstat())
                if is_equal(file, link):
                    found.insert(0, Earlier(link, index, then))
        return tuple(found)

    def link(self, key: str, number: int) -> Path:
        """The store's own name of a file, which need not be there."""
        return self.root / f"{checked_key(key)}.{number}"

    def entries(self) -> dict[str, Size]:
        """The keys, those used least recently first, and what their files take on the disk."""
        with suppress(OSError):
            metas = [path for path in self.root.glob("*.json") if is_key(path.stem)]
            metas.sort(key=lambda path: path.stat().st_mtime)
            return {meta.stem: self._size(meta.stem) for meta in metas}
        return {}

    def prune(self, limits: Limits, now: float) -> tuple[str, ...]:
        """Forget outputs that were not used for long (`now` in seconds) or are too much."""
        sizes, gone = self.entries(), []
        for key in tuple(sizes):
            with suppress(OSError):
                age = now - self._meta(key).stat().st_mtime
                old = limits.max_age is not None and age > limits.max_age.total_seconds()
                if old or (limits.max_size is not None and sum(sizes.values()) > limits.max_size):
                    self.remove(key)
                    del sizes[key]
                    gone.append(key)
        return tuple(gone)

    def remove(self, key: str) -> None:
        """Forget outputs; files that have names elsewhere stay there."""
        for path in self.root.glob(f"{checked_key(key)}.*"):
            path.unlink(missing_ok=True)

    def _size(self, key: str) -> Size:
        files = self.root.glob(f"{key}.*")
        return Size(sum(path.stat().st_blocks * 512 for path in files))

    def _link(self, path: Path, link: Path) -> None:
        """Give a file a second name; on another filesystem it has none."""
        temporary = link.with_name(f".{secrets.token_hex(8)}")
        with suppress(OSError):
            try:
                temporary.hardlink_to(path)
                temporary.replace(link)
            finally:
                temporary.unlink(missing_ok=True)  # two names of one file are not replaced

    def _write(self, key: str, outputs: Outputs) -> None:
        fields = {
            "files": [asdict(file) for file in outputs.files],
            "beside": {p: base64.b64encode(data).decode() for p, data in outputs.beside.items()},
        }
        self._put(self._meta(key), encode(fields))

    def _put(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _index(self, key: str, number: int) -> Path:
        return self.root / f"{checked_key(key)}.{number}.index"

    def _meta(self, key: str) -> Path:
        return self.root / f"{checked_key(key)}.json"


def is_same(file: File, path: Path) -> bool:
    """Whether `path` is the very file, and nothing about it has changed."""
    with suppress(OSError):
        status = path.lstat()
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (
            file.inode,
            file.size,
            file.modified,
            file.changed,
        )
    return False


def is_equal(file: File, path: Path) -> bool:
    """Whether `path` is the file with the content it had, whatever its names are now."""
    with suppress(OSError):
        return is_same(file, path) or (
            path.lstat().st_ino == file.inode and _content(path) == file.content
        )
    return False


def _described(made: Made) -> File:
    status = made.path.lstat()
    return File(
        path=str(made.path),
        size=status.st_size,
        inode=status.st_ino,
        modified=status.st_mtime_ns,
        changed=status.st_ctime_ns,
        content=made.content,
    )


def _content(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return holes.digest(file.fileno())

"""The files of an ISO image, read without mounting it and without any privilege."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from imagebuilder.errors import ConfigError, nearest
from imagebuilder.iso import records, rockridge
from imagebuilder.iso.model import SECTOR, Iso, Node
from imagebuilder.iso.records import DIRECTORY, MULTI_EXTENT, SELF_AND_PARENT, Record

PLAIN_DIRECTORY, PLAIN_FILE = stat.S_IFDIR | 0o555, stat.S_IFREG | 0o444
CHUNK = 2**20
DEEPEST = 200
MOST_LINKS = 40


class Tree:
    """All files by path. Names are Rock Ridge's, else Joliet's, else those of ISO 9660."""

    def __init__(self, iso: Iso, nodes: Mapping[str, Node]) -> None:
        self.iso, self.nodes = iso, nodes

    def __contains__(self, path: str) -> bool:
        return clean(path) in self.nodes

    def find(self, path: str) -> Node:
        """What is at a path, symlinks followed; raise ConfigError if there is nothing."""
        name = clean(path)
        for _ in range(MOST_LINKS):
            node = self.nodes.get(name)
            if node is None:
                hint = nearest(name, self.nodes)
                raise ConfigError(f"{path} is not in it", where=str(self.iso.path), hint=hint)
            if not stat.S_ISLNK(node.mode):
                return node
            name = clean(node.target if node.target.startswith("/") else f"{name}/../{node.target}")
        raise ConfigError(f"{path} is a symlink that leads in a circle", where=str(self.iso.path))

    def read(self, path: str) -> bytes:
        """The content of a file; raise ConfigError if it is none."""
        return b"".join(self.pieces(self.file(path)))

    def file(self, path: str) -> Node:
        """The regular file at a path; raise ConfigError if there is none that can be read."""
        node = self.find(path)
        what = "" if node.is_file else "is no regular file"
        what = "is compressed with zisofs, which is not supported" if node.packed else what
        if what:
            raise ConfigError(f"{path} {what}", where=str(self.iso.path))
        return node

    def pieces(self, node: Node) -> Iterator[bytes]:
        """The content of a file, piece by piece; raise ConfigError if it is cut off."""
        with self.iso.path.open("rb") as file:
            for start, length in node.extents:
                file.seek(start)
                left = length
                while left:
                    piece = file.read(min(CHUNK, left))
                    if not piece:
                        what = f"truncated: {node.path} ends at byte {start + length}"
                        raise ConfigError(what, where=str(self.iso.path))
                    left -= len(piece)
                    yield piece

    def below(self, path: str) -> list[Node]:
        """A directory and all that is in it, or just one file; raise ConfigError for nothing."""
        name = clean(path)
        if name and name not in self.nodes:
            hint = nearest(name, self.nodes)
            raise ConfigError(f"{path} is not in it", where=str(self.iso.path), hint=hint)
        inside = f"{name}/" if name else ""
        return [
            node for each, node in self.nodes.items()
            if each == name or (each.startswith(inside) and each)
        ]  # fmt: skip

    def extract(self, nodes: list[Node], directory: Path, tell: Callable[[str], None]) -> None:
        """Write directories, files and symlinks below `directory`, with modes and dates.

        Everything is the caller's and can be written by them; devices are left out, and told of.
        """
        for node in sorted(nodes, key=lambda node: node.path):
            place = directory / node.path
            if node.is_directory:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if node.is_file:
                with place.open("wb") as file:
                    file.writelines(self.pieces(self.file(node.path)))
                place.chmod(stat.S_IMODE(node.mode) & 0o777 | stat.S_IWUSR)
                os.utime(place, (node.mtime, node.mtime))
            elif stat.S_ISLNK(node.mode):
                place.unlink(missing_ok=True)
                place.symlink_to(node.target)
            else:
                tell(f"{node.path} is a device or the like, and left out")


def load(iso: Iso) -> Tree:
    """The files of an image; raise ConfigError if a directory is damaged."""
    with iso.path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        joliet = iso.joliet if not iso.rock_ridge else None
        sector, size = joliet or (iso.volume.root, iso.volume.root_size)
        walk = _Walk(iso, read, joliet=joliet is not None)
        nodes = {node.path: node for node in walk.directory("", sector, size, 0)}
        root = Node(path="", mode=PLAIN_DIRECTORY)
        _check_whole(iso, nodes.values())
        return Tree(iso, {"": root, **nodes})


def _check_whole(iso: Iso, nodes: Iterable[Node]) -> None:
    for node in nodes:
        for start, length in node.extents:
            if length and start + length > iso.size:
                end = start + length
                what = f"truncated: {node.path} ends at byte {end}, the file has {iso.size}"
                hint = "download it again, and compare its checksum"
                raise ConfigError(what, where=str(iso.path), hint=hint)


def clean(path: str) -> str:
    """A path without a slash in front, `.` and `..`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Walk:
    """One pass over all directories."""

    def __init__(self, iso: Iso, read: rockridge.Read, *, joliet: bool) -> None:
        self.iso, self.read, self.joliet = iso, read, joliet
        self.skip = self._skipped() if iso.rock_ridge else 0

    def directory(self, path: str, sector: int, size: int, depth: int) -> Iterator[Node]:
        """All that is in a directory, itself excluded."""
        if depth > DEEPEST:
            raise ConfigError(f"directories lead in a circle: {path}", where=str(self.iso.path))
        pending: list[tuple[int, int]] = []
        for record in self.records(sector, size, path):
            if record.name in SELF_AND_PARENT:
                continue
            pending.append((record.start, record.size))
            if record.flags & MULTI_EXTENT:
                continue
            extents, pending = tuple(pending), []
            yield from self.node(path, record, extents, depth)

    def node(
        self, path: str, record: Record, extents: tuple[tuple[int, int], ...], depth: int
    ) -> Iterator[Node]:
        """What a record stands for, and what is in it if it is a directory."""
        extra = rockridge.Extras()
        if self.iso.rock_ridge:
            extra = rockridge.extras(record.area[self.skip :], self.read)
        if extra.moved:
            return
        name = extra.name or self.name(record.name)
        full = f"{path}/{name}".lstrip("/")
        node = _node(full, record, extra, extents)
        if extra.child:
            first = next(self.records(extra.child, SECTOR, full))
            node = replace(node, mode=stat.S_IFDIR | stat.S_IMODE(node.mode))
            yield node
            yield from self.directory(full, extra.child, first.size, depth + 1)
            return
        yield node
        if record.flags & DIRECTORY:
            yield from self.directory(full, record.start // SECTOR, record.size, depth + 1)

    def records(self, sector: int, size: int, path: str) -> Iterator[Record]:
        """The records of a directory; raise ConfigError if it is cut off or damaged."""
        content = self.read(sector * SECTOR, size)
        if len(content) < size:
            what = f"truncated: the directory /{path} lies behind the end"
            raise ConfigError(what, where=str(self.iso.path))
        try:
            yield from (records.parse(raw) for _, raw in records.split(content))
        except records.DamagedError as error:
            what = f"damaged: the directory /{path} at byte {sector * SECTOR + error.place}"
            raise ConfigError(what, where=str(self.iso.path)) from error

    def name(self, raw: bytes) -> str:
        """A name as Joliet or ISO 9660 has it, without its version."""
        if self.joliet:
            return raw.decode("utf-16-be", errors="replace").removesuffix(";1")
        return raw.decode("latin-1").partition(";")[0].removesuffix(".")

    def _skipped(self) -> int:
        first = next(self.records(self.iso.volume.root, SECTOR, ""))
        return rockridge.skipped(first.area)


def _node(
    path: str, record: Record, extra: rockridge.Extras, extents: tuple[tuple[int, int], ...]
) -> Node:
    plain = PLAIN_DIRECTORY if record.flags & DIRECTORY else PLAIN_FILE
    mode = plain if extra.mode is None else extra.mode
    is_file = stat.S_ISREG(mode)
    size = sum(length for _, length in extents) if is_file else 0
    return Node(
        path=path,
        mode=mode,
        uid=extra.uid,
        gid=extra.gid,
        mtime=rockridge.when(record.date) if extra.mtime is None else extra.mtime,
        size=size if extra.size is None else extra.size,
        links=extra.links,
        target=extra.target,
        rdev=extra.rdev,
        extents=extents if is_file else (),
        packed=extra.size is not None,
    )

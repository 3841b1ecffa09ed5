"""What takes up the room in a tree: its directories, the small ones merged."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

DEPTH = 4
SMALL = 0.005  # of the whole; what is smaller goes into OTHER
OTHER = "other"
BLOCK = 512  # unit of st_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A directory, a large file, or the merged rest; `size` in bytes, all below included."""

    name: str
    size: int
    files: int = 0  # inodes, all below included
    children: tuple[Branch, ...] = ()  # largest first; OTHER last; together not above `size`


@dataclass(slots=True)
class _Node:
    name: str
    size: int = 0
    files: int = 1
    children: list[_Node] = field(default_factory=list)


@dataclass(slots=True)
class _Count:
    """Adds up inodes, each hard link once."""

    seen: set[tuple[int, int]] = field(default_factory=set)

    def of(self, entry: os.DirEntry[str]) -> int:
        """The bytes that the entry itself takes up."""
        status = entry.stat(follow_symlinks=False)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if inode in self.seen:
                return 0
            self.seen.add(inode)
        return status.st_blocks * BLOCK


def measure(tree: Path, *, depth: int = DEPTH, small: float = SMALL) -> Branch:
    """How much room everything below `tree` takes up, by directories down to `depth`.

    Symlinks are not followed. Children smaller than the share `small` of the whole are merged.
    """
    root = _Node("/", tree.lstat().st_blocks * BLOCK)
    _grow(root, os.fspath(tree), depth, _Count())
    return _frozen(root, root.size * small)


def _grow(node: _Node, path: str, depth: int, count: _Count) -> None:
    """Fill `node` with what is in the directory `path`."""
    if depth == 0:
        _add_all(node, path, count)
        return
    for entry in _entries(path):
        child = _Node(_readable(entry.name), count.of(entry))
        if entry.is_dir(follow_symlinks=False):
            _grow(child, entry.path, depth - 1, count)
        node.children.append(child)
        node.size += child.size
        node.files += child.files


def _add_all(node: _Node, path: str, count: _Count) -> None:
    """Add everything below `path` to `node` itself."""
    waiting = [path]
    while waiting:
        for entry in _entries(waiting.pop()):
            node.size += count.of(entry)
            node.files += 1
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def _entries(path: str) -> list[os.DirEntry[str]]:
    """The directory's entries in a fixed order, which decides where a hard link counts."""
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _readable(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _frozen(node: _Node, limit: float) -> Branch:
    large = [child for child in node.children if child.size >= limit and child.size]
    rest = [child for child in node.children if child.size < limit or not child.size]
    large.sort(key=lambda child: (-child.size, child.name))
    children = [_frozen(child, limit) for child in large]
    if large and any(child.size for child in rest):
        children.append(_merged(rest))
    return Branch(name=node.name, size=node.size, files=node.files, children=tuple(children))


def _merged(nodes: Iterable[_Node]) -> Branch:
    whole = list(nodes)
    return Branch(
        name=OTHER,
        size=sum(node.size for node in whole),
        files=sum(node.files for node in whole),
    )

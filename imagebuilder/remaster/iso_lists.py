"""Lists of checksums on an ISO image, brought in line with what a copy of it holds.

A boot file (isolinux.bin, eltorito.img) is patched with its own place when an image is written, so
its checksum is only known from the copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.iso import checksums, roles
from imagebuilder.iso.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """New contents and files by path, and paths that are removed."""

    contents: Mapping[str, bytes]
    files: Mapping[str, Path]
    removals: tuple[str, ...]


def updated(files: Tree, news: News, now: Tree) -> dict[str, bytes]:
    """The lists of `files` that change, when boot files are as they are in `now`."""
    gone = {node.path for path in news.removals for node in files.below(path)}
    made = {}
    for name, algorithm in checksums.LISTS.items():
        if name in files.nodes and name not in gone and name not in news.files:
            old = files.read(name)
            new = _list(old, algorithm, files, news, now)
            if new != old:
                made[name] = new
    return made


def _list(old: bytes, algorithm: str, files: Tree, news: News, now: Tree) -> bytes:
    images = (roles.boot_file(files, image) for image in files.iso.images)
    patched = {node.path for node in images if node}

    def digest(path: str) -> str:
        if path in news.files:
            return checksums.of_file(algorithm, news.files[path])
        if path in news.contents:
            return checksums.digest(algorithm, [news.contents[path]])
        pieces = now.pieces(now.file(path)) if path in patched else ()
        return checksums.digest(algorithm, pieces) if path in patched else ""

    gone = [node.path for path in news.removals for node in files.below(path)]
    added = [path for path in news.files if path not in files.nodes]
    text = old.decode(errors="surrogateescape")
    return checksums.updated(text, gone, added, digest).encode(errors="surrogateescape")

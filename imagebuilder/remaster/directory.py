"""What somebody has changed in a directory of extracted files, as changes of where they came from.

An element's hooks, and people, find it easiest to change files in a directory. Only what differs
goes back: owners, dates, devices and hard links of everything else stay as they were.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.rootfs import File, Rootfs
from imagebuilder.initrd.source import Wish
from imagebuilder.iso.model import Node
from imagebuilder.iso.tree import Tree

PIECE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Files of the directory that are new or other ones, by path, and paths that are gone."""

    files: Mapping[str, Path]
    gone: tuple[str, ...]


def of_medium(files: Tree, directory: Path) -> Found:
    """What is different in a directory into which all files of an ISO image were extracted.

    Raise ConfigError for a symlink or device that the image does not have.
    """
    if not directory.is_dir():
        raise ConfigError("is no directory", where=str(directory))
    there = {str(path.relative_to(directory)): path for path in sorted(directory.rglob("*"))}
    new = {
        name: path
        for name, path in there.items()
        if not _is_directory(path) and not _is_as_it_was(files, name, path)
    }
    for path in new.values():
        if not stat.S_ISREG(path.lstat().st_mode):
            hint = "a file with the content that it leads to can be put there"
            raise ConfigError("is no regular file", where=str(path), hint=hint)
    lost = [n.path for n in files.nodes.values() if _is_extracted(n) and n.path not in there]
    return Found(files=new, gone=tuple(_topmost(lost)))


def of_initrd(root: Rootfs, directory: Path) -> tuple[tuple[str, ...], tuple[Wish, ...]]:
    """The paths to delete and the files to add, to make an initrd what its directory has become."""
    there = {str(path.relative_to(directory)): path for path in sorted(directory.rglob("*"))}
    lost = [p for p, file in root.files.items() if _is_plain(file.mode) and p not in there]
    other = [p for p in there if p in root and _type(there[p]) != stat.S_IFMT(root.files[p].mode)]
    new = [
        path
        for path, place in there.items()
        if path not in root or path in other or not _is_same_file(root.files[path], place)
    ]
    wishes = (Wish(source=there[path], path=path) for path in _topmost(new))
    return tuple(_topmost([*lost, *other])), tuple(wishes)


def extract_initrd(root: Rootfs, directory: Path) -> None:
    """Write the files, directories and symlinks of an initrd; devices are left out."""
    for path, file in sorted(root.files.items()):
        place = directory / path
        if stat.S_ISDIR(file.mode):
            place.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISREG(file.mode):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.content)
        elif stat.S_ISLNK(file.mode):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.target)
    for path, file in root.files.items():
        if stat.S_ISDIR(file.mode) or stat.S_ISREG(file.mode):
            (directory / path).chmod(stat.S_IMODE(file.mode))


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_as_it_was(files: Tree, name: str, path: Path) -> bool:
    node = files.nodes.get(name)
    if node is None:
        return False
    found = path.lstat()
    if stat.S_ISLNK(node.mode):
        return stat.S_ISLNK(found.st_mode) and os.fspath(path.readlink()) == node.target
    if not (node.is_file and stat.S_ISREG(found.st_mode) and node.size == found.st_size):
        return False
    with path.open("rb") as file:
        return all(piece == file.read(len(piece)) for piece in files.pieces(node))


def _is_extracted(node: Node) -> bool:
    return bool(node.path) and _is_plain(node.mode)


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _is_same_file(file: File, path: Path) -> bool:
    found = path.lstat()
    if stat.S_ISLNK(file.mode):
        return os.fsencode(path.readlink()) == file.content
    if stat.S_IMODE(found.st_mode) != stat.S_IMODE(file.mode):
        return False
    return stat.S_ISDIR(file.mode) or path.read_bytes() == file.content


def _type(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


def _topmost(paths: list[str]) -> Iterator[str]:
    """Those that are not in a directory which is among them."""
    among = set(paths)
    for path in dict.fromkeys(paths):
        names = path.split("/")
        if not among.intersection("/".join(names[:n]) for n in range(1, len(names))):
            yield path

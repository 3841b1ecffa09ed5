"""A FAT filesystem of an image as a directory, and changes to it back: with mtools, never mounted.

Files that nobody has changed are not touched, so that neither are their bytes on the disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import CommandError, SpaceError
from imagebuilder.existing.model import Area
from imagebuilder.process import Command, Runner

FULL = "Disk full"
ENVIRONMENT = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull}
BATCH = 200  # paths in one command
DIRECTORY = ""

Listing = Mapping[str, str]  # path: digest of a file's content, or DIRECTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What has to be done to a filesystem, in this order."""

    delete: tuple[str, ...] = ()
    delete_trees: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    copy: tuple[tuple[str, str], ...] = ()  # (path in the directory, path on the filesystem)


def read(image: Path, area: Area, directory: Path, run: Runner) -> Listing:
    """Copy everything in the filesystem to the empty `directory`, and say what that was."""
    names = run(_mtools("mdir", image, area, "-b", "-a", "::/")).output.splitlines()
    paths = [name for name in names if name.startswith("::/")]
    for some in _batches(paths):
        run(_mtools("mcopy", image, area, "-s", "-p", "-m", "-n", "-Q", *some, str(directory)))
    return listing(directory)


def write(image: Path, area: Area, directory: Path, before: Listing, run: Runner) -> Changes:
    """Do to the filesystem what was done to the `directory` since; raise SpaceError."""
    changes = compare(before, listing(directory))
    try:
        for command in commands(image, area, directory, changes):
            run(command)
    except CommandError as error:
        if FULL not in error.what:
            raise
        raise SpaceError(
            f"{area} has no room for what was changed in it",
            where=str(area.size),
            hint="its size is kept; put less there",
        ) from error
    return changes


def listing(directory: Path) -> Listing:
    """Everything below a directory, but for symlinks and the like, which FAT does not know."""
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            continue
        if path.is_dir():
            found[name] = DIRECTORY
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compare(before: Listing, now: Listing) -> Changes:
    """The changes between two listings; FAT does not tell capitals from small letters."""
    spelled = {name.lower(): name for name in before}
    kept = {name.lower() for name in now}
    gone = [name for name in before if name.lower() not in kept]
    turned = [
        n for n in now if _kind(before, spelled.get(n.lower(), "")) not in ("", _kind(now, n))
    ]
    removed = {*gone, *(spelled[name.lower()] for name in turned)}
    tops = [name for name in sorted(removed) if not _below(name, removed)]
    fresh = [name for name in now if name.lower() not in spelled or name in turned]
    changed = [n for n in now if now[n] and before.get(spelled.get(n.lower(), n)) != now[n]]
    return Changes(
        delete=tuple(name for name in tops if before[name]),
        delete_trees=tuple(name for name in tops if not before[name]),
        make=tuple(_once(name for name in fresh if not now[name])),
        copy=tuple((name, _as_spelled(name, spelled)) for name in changed),
    )


def commands(image: Path, area: Area, directory: Path, changes: Changes) -> Iterator[Command]:
    """The commands that make the changes."""
    for program, names in (("mdel", changes.delete), ("mdeltree", changes.delete_trees)):
        for some in _batches([f"::/{name}" for name in names]):
            yield _mtools(program, image, area, *some)
    for some in _batches([f"::/{name}" for name in changes.make]):
        yield _mtools("mmd", image, area, *some)
    for name, target in changes.copy:
        yield _mtools("mcopy", image, area, "-o", "-m", "-Q", str(directory / name), f"::/{target}")


def _mtools(program: str, image: Path, area: Area, *arguments: str) -> Command:
    region = f"{os.fspath(image)}@@{int(area.offset)}"
    return Command((program, "-i", region, *arguments), ENVIRONMENT)


def _kind(listed: Listing, name: str) -> str:
    """`file`, `directory`, or nothing."""
    if name not in listed:
        return ""
    return "file" if listed[name] else "directory"


def _below(name: str, others: Iterable[str]) -> bool:
    return any(str(parent) in others for parent in Path(name).parents)


def _as_spelled(name: str, spelled: Mapping[str, str]) -> str:
    """The path under which the filesystem knows a file already, or will know a new one."""
    return spelled.get(name.lower(), name)


def _once(names: Iterable[str]) -> list[str]:
    """Each name in one spelling only, in the order of the paths."""
    return list({name.lower(): name for name in sorted(names, reverse=True)}.values())[::-1]


def _batches(names: list[str]) -> Iterator[list[str]]:
    return (names[at : at + BATCH] for at in range(0, len(names), BATCH))

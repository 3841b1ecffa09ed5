"""FAT12, FAT16 and FAT32 ("vfat"), made by mkfs.vfat and filled by mtools."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from imagebuilder.disk.image import Borrowed
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import BuildError, ConfigError, SpaceError
from imagebuilder.filesystems import fat
from imagebuilder.filesystems.epoch import epoch
from imagebuilder.filesystems.measure import (
    ACL,
    ATTRIBUTE,
    BEFORE_1980,
    DEVICE,
    FIFO,
    IN_1980,
    OWNER,
    SOCKET,
    SYMLINK,
    Loss,
    Measured,
)
from imagebuilder.process import Command, Runner
from imagebuilder.sizes import Size

BATCH = 64 * 2**10  # bytes of arguments in one command, half of what one argument may be


def make(placed: Placed, tree: Path, image: Path, run: Runner) -> tuple[Borrowed, ...]:
    """Write a filesystem with the content of `tree` into `image`; raise SpaceError if too small.

    Directories and files are created in the order of their names, so that equal trees make
    equal bytes; symlinks and special files are left out.
    """
    run(mkfs(placed, image))
    _check_kind(placed, image)
    directories, files = _listed(os.fspath(tree))
    for command in fill(placed, tree, image, directories, files):
        run(command)
    return ()


def mkfs(placed: Placed, image: Path) -> Command:
    """The command that makes the filesystem; later options, the user's, win.

    --invariant comes before -i, which it would overwrite (dosfstools 4.2).
    """
    fs = placed.filesystem
    return Command(
        (
            "mkfs.vfat", "--invariant",
            f"--offset={placed.offset // placed.sector}",
            "-S", str(placed.sector),
            *_kind(placed),
            "-i", volume_id(fs),
            "-n", fs.label,
            *fs.options,
            os.fspath(image),
            str(placed.size // 1024),
        ),
    )  # fmt: skip


def volume_id(filesystem: Filesystem) -> str:
    """The eight hexadecimal digits that a FAT filesystem has for a UUID."""
    return f"{filesystem.uuid.int & 0xFFFFFFFF:08x}"


def fill(
    placed: Placed, tree: Path, image: Path, directories: Sequence[str], files: Sequence[str]
) -> Iterator[Command]:
    """The commands that make `directories` and copy `files`, both relative to the tree."""
    region = ("-i", f"{os.fspath(image)}@@{int(placed.offset)}")
    environment = {
        "MTOOLS_SKIP_CHECK": "1",
        "MTOOLSRC": os.devnull,
        "SOURCE_DATE_EPOCH": str(max(epoch(), IN_1980)),  # FAT knows no earlier time
    }
    for batch in _batches([f"::/{path}" for path in directories]):
        yield Command(("mmd", *region, *batch), environment)
    for directory, names in groupby(files, os.path.dirname):
        target = f"::/{directory}" if directory else "::/"
        for batch in _batches([f"./{name}" for name in names]):
            yield Command(("mcopy", "-m", "-Q", *region, *batch, target), environment, cwd=tree)


def needed(filesystem: Filesystem, measured: Measured) -> Size:
    """A size that is enough for the tree, and little more, on sectors of either size."""
    del filesystem
    return fat.smallest(measured)


def losses(filesystem: Filesystem, measured: Measured) -> tuple[Loss, ...]:
    """What is left out or forgotten; that FAT knows no owners is news only where root is not it."""
    del filesystem
    return measured.losses(SYMLINK, SOCKET, FIFO, DEVICE, BEFORE_1980, OWNER, ACL, ATTRIBUTE)


def _kind(placed: Placed) -> tuple[str, ...]:
    """The kind of FAT and the size of a cluster, unless the user chose one."""
    if _chosen(placed.filesystem):
        return ()
    shape = fat.shape(placed.size, placed.sector)
    if shape is None:
        raise SpaceError(
            f"{placed.size} are too few for a vfat filesystem", where=placed.filesystem.name
        )
    return ("-F", str(shape.bits), "-s", str(shape.cluster // placed.sector))


def _chosen(filesystem: Filesystem) -> bool:
    return any(option.startswith(("-F", "-s")) for option in filesystem.options)


def _check_kind(placed: Placed, image: Path) -> None:
    """Make sure that who counts clusters, as firmware and mtools do, sees the same kind of FAT."""
    if _chosen(placed.filesystem):
        return
    with image.open("rb") as file:
        file.seek(placed.offset)
        start = file.read(512)
    shape = fat.shape(placed.size, placed.sector)
    made = fat.bits(fat.clusters(start))
    if shape is None or made != shape.bits:
        raise BuildError(
            f"mkfs.vfat made a FAT that counts as FAT{made}",
            where=placed.filesystem.name,
            hint="choose another size for its partition",
        )


def _listed(tree: str) -> tuple[list[str], list[str]]:
    """Directories, parents first, and regular files, each directory's together; both sorted."""
    directories: list[str] = []
    files: list[str] = []
    waiting = [""]
    while waiting:
        path = waiting.pop()
        below: list[str] = []
        for entry in _entries(tree, path):
            name = f"{path}/{entry.name}" if path else entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                below.append(name)
            elif stat.S_ISREG(mode):
                files.append(name)
        directories.extend(below)
        waiting.extend(reversed(below))
    return directories, files


def _entries(tree: str, path: str) -> list[os.DirEntry[str]]:
    with os.scandir(os.path.join(tree, path)) as found:  # ruff: ignore[os-path-join] - many, fast
        listed = sorted(found, key=lambda entry: entry.name)
    _check_names(path, (entry.name for entry in listed))
    return listed


def _check_names(path: str, names: Iterable[str]) -> None:
    """FAT does not tell capitals from small letters, and has no room for some characters."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ConfigError(f"{other!r} and {name!r} are one name on vfat", where=f"/{path}")
        if set(name) & set('"*:<>?|\\') or not name.isprintable() or name.endswith((".", " ")):
            raise ConfigError(f"vfat cannot hold the name {name!r}", where=f"/{path}")


def _batches(arguments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    batch: list[str] = []
    for argument in arguments:
        if batch and sum(map(len, batch)) + len(argument) > BATCH:
            yield tuple(batch)
            batch = []
        batch.append(argument)
    if batch:
        yield tuple(batch)

"""The EFI system partition of an ISO image, changed with mtools on a copy of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagebuilder.errors import CommandError
from imagebuilder.process import Command, Runner

FULL = "Disk full"
ROOM = 64 * 2**10  # for directories and tables, when a partition grows
STEP = 2**20
QUIET = {"MTOOLS_SKIP_CHECK": "1"}


def pieces(image: Path, start: int, size: int) -> Iterator[bytes]:
    """The bytes of a partition in an image, piece by piece."""
    with image.open("rb") as file:
        file.seek(start)
        while size and (piece := file.read(min(size, STEP))):
            size -= len(piece)
            yield piece


def files(image: Path, run: Runner) -> list[str]:
    """The paths of all files in the partition."""
    output = run(_mtools("mdir", "-b", "-/", "-f", "-i", os.fspath(image), "::/")).output
    names = [line.removeprefix("::/") for line in output.splitlines() if line.startswith("::/")]
    return [name for name in names if not name.endswith("/")]


def read(image: Path, path: str, place: Path, run: Runner) -> bytes:
    """The content of a file, by way of a file in the directory `place`."""
    copied = place / "from-esp"
    run(_mtools("mcopy", "-n", "-o", "-i", os.fspath(image), f"::/{path}", os.fspath(copied)))
    return copied.read_bytes()


def write(image: Path, contents: Mapping[str, bytes], epoch: int, run: Runner) -> None:
    """Put new contents in files that are there; the partition grows if it is too small."""
    place = image.with_suffix(".files")
    place.mkdir()
    try:
        for index, path in enumerate(sorted(contents)):
            (place / str(index)).write_bytes(contents[path])
            run(_put(image, place / str(index), path, epoch))
    except CommandError as error:
        if FULL not in error.what:
            raise
        _grow(image, contents, epoch, run)


def label(boot: bytes) -> tuple[str, str]:
    """The label and the serial number of a FAT filesystem, by its first sector."""
    place = 67 if boot[82:87] == b"FAT32" else 39
    number = int.from_bytes(boot[place : place + 4], "little")
    return boot[place + 4 : place + 15].decode("latin-1").rstrip(), f"{number:08x}"


def _put(image: Path, file: Path, path: str, epoch: int) -> Command:
    os.utime(file, (epoch, epoch))
    source = os.fspath(file)
    return _mtools("mcopy", "-o", "-m", "-i", os.fspath(image), source, f"::/{path}", epoch=epoch)


def _grow(image: Path, contents: Mapping[str, bytes], epoch: int, run: Runner) -> None:
    """A larger filesystem of the same label and number, with all files and the new contents."""
    tree = image.with_suffix(".tree")
    tree.mkdir()
    source = os.fspath(image)
    run(_mtools("mcopy", "-s", "-n", "-m", "-i", source, "::/", os.fspath(tree)))
    for path, content in contents.items():
        (tree / path).write_bytes(content)
        os.utime(tree / path, (epoch, epoch))
    with image.open("rb") as file:
        name, number = label(file.read(512))
    used = sum(path.stat().st_size + 4096 for path in tree.rglob("*"))
    size = -(-(max(used + used // 32 + ROOM, image.stat().st_size)) // STEP) * STEP
    image.unlink()
    with image.open("wb") as file:
        file.truncate(size)
    run(Command(("mkfs.vfat", "--invariant", "-n", name or "ESP", "-i", number, source)))
    for command in _filled(tree, source, epoch):
        run(command)


def _filled(tree: Path, image: str, epoch: int) -> Iterator[Command]:
    for path in sorted(tree.rglob("*")):
        inside = f"::/{path.relative_to(tree)}"
        if path.is_dir():
            yield _mtools("mmd", "-i", image, inside, epoch=epoch)
        else:
            yield _mtools("mcopy", "-m", "-i", image, os.fspath(path), inside, epoch=epoch)


def _mtools(*words: str, epoch: int = 0) -> Command:
    return Command(words, env={**QUIET, "SOURCE_DATE_EPOCH": str(epoch)})

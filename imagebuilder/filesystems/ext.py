"""ext2, ext3 and ext4, made by mke2fs and filled through libext2fs.

Filesystems with features that change how content is kept (bigalloc, inline_data, encrypt,
quota, ...), or blocks of more than 4 KiB, are filled by `mke2fs -d` instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from imagebuilder.disk.image import Borrowed
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import CommandError, SpaceError
from imagebuilder.filesystems import ext2fs, ext_fill, ext_settle, ext_size
from imagebuilder.filesystems.epoch import epoch
from imagebuilder.filesystems.measure import AFTER_2037, OUT_OF_RANGE, Loss, Measured
from imagebuilder.process import Command, Runner
from imagebuilder.sizes import Size

WITH_LATE_TIMES = 256  # bytes of an inode that has room for the bits beyond 2038
FULL = ("Could not allocate", "No free space", "no space")
# Features that a newer mke2fs turns on and an older guest or boot loader cannot read, with the
# release that first knew them: before it, naming them is an error.
TOO_NEW = (((1, 43), "metadata_csum_seed"), ((1, 47), "orphan_file"))


def make(placed: Placed, tree: Path, image: Path, run: Runner) -> tuple[Borrowed, ...]:
    """Write a filesystem with the content of `tree` into `image`; raise SpaceError if too small.

    Return what of it is not written, but to be read from the tree.
    """
    moment = epoch()
    release = _release(run(Command(("mke2fs", "-V"))).output)
    command = mke2fs(placed, image, moment=moment, release=release)
    try:
        run(command)
        with ext2fs.filling(image, placed.offset, moment) as filesystem:
            if ext_fill.knows(filesystem):
                ext_settle.set_times(filesystem, moment)
                return ext_fill.fill(filesystem, tree, placed.offset, moment)
        run(filled(command, tree))
    except CommandError as error:
        if any(words in error.what for words in FULL):
            raise SpaceError(
                f"{placed.size} are too few for what goes into {placed.filesystem.name}",
                where=str(tree),
                hint="make its partition, or the image, larger",
            ) from error
        raise
    ext_settle.settle(image, placed.offset, tree, moment)
    return ()


def mke2fs(placed: Placed, image: Path, *, moment: int, release: tuple[int, ...]) -> Command:
    """The command that makes an empty filesystem; later options, the user's, win.

    E2FSPROGS_FAKE_TIME, unlike SOURCE_DATE_EPOCH, sets the clock without touching mtimes; 0 in
    it would mean the time of day.
    """
    fs = placed.filesystem
    features, extended, others = _sorted_out(fs.options)
    return Command(
        (
            "mke2fs", "-q", "-F",
            "-t", fs.type,
            "-b", str(ext_size.BLOCK),
            "-I", "256",
            "-i", str(ext_size.default_ratio(placed.size)),
            "-L", fs.label,
            "-U", str(fs.uuid),
            "-E", ",".join((
                f"offset={int(placed.offset)}",
                f"hash_seed={fs.uuid}",
                "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                *extended,
            )),
            *_features(fs, features, release),
            *others,
            os.fspath(image),
            f"{placed.size // 4096 * 4}k",
        ),
        env={"E2FSPROGS_FAKE_TIME": str(moment or 1)},
    )  # fmt: skip


def filled(command: Command, tree: Path) -> Command:
    """The same command, but for a filesystem with the content of `tree`."""
    program, *others = command.argv
    return replace(command, argv=(program, "-d", os.fspath(tree), *others))


def needed(filesystem: Filesystem, measured: Measured) -> Size:
    """A size that is enough for the tree, and little more."""
    arguments = tuple(_apart(filesystem.options))
    return ext_size.smallest(measured, ext_size.options(filesystem.type, arguments))


def losses(filesystem: Filesystem, measured: Measured) -> tuple[Loss, ...]:
    """What is not kept of the tree, but for the fractions of a second that every file has."""
    arguments = tuple(_apart(filesystem.options))
    if ext_size.options(filesystem.type, arguments).inode_size < WITH_LATE_TIMES:
        return measured.losses(AFTER_2037, OUT_OF_RANGE)
    return measured.losses(OUT_OF_RANGE)


def _features(fs: Filesystem, asked: Sequence[str], release: tuple[int, ...]) -> tuple[str, ...]:
    ours = [f"^{name}" for since, name in TOO_NEW if fs.type == "ext4" and release >= since]
    listed = ",".join((*ours, *asked))
    return ("-O", listed) if listed else ()


def _sorted_out(options: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The values of -O and of -E, of which mke2fs heeds only the last, and all other options."""
    features: list[str] = []
    extended: list[str] = []
    others: list[str] = []
    arguments = _apart(options)
    for argument in arguments:
        if argument == "-O":
            features.append(next(arguments, ""))
        elif argument == "-E":
            extended.append(next(arguments, ""))
        else:
            others.append(argument)
    return features, extended, others


def _apart(options: Sequence[str]) -> Iterator[str]:
    """The options with `-i4096` as `-i 4096`."""
    for option in options:
        joined = re.fullmatch(r"(-[bCdEeGgIiJjLMNmOorTtUz])(.+)", option)
        yield from joined.groups() if joined else (option,)


def _release(output: str) -> tuple[int, ...]:
    """From `mke2fs 1.47.0 (5-Feb-2023)`; empty, and so older than all, if it does not say."""
    found = re.search(r"mke2fs (\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else ()

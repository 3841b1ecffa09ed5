"""raw: the scratch file with the disk is the output already, and only changes its name."""

from __future__ import annotations

import errno
from pathlib import Path

from imagebuilder.formats import place, sparse
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner

SOURCE = Source.DISK
SUFFIXES = {"raw": ".raw"}


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Move the disk `source` to the output; copy it, holes included, to another filesystem."""
    del run  # no program does this better
    try:
        return place.move(source, output)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return place.place(output, lambda path: _copy(source, path), lambda: allocated(source))


def allocated(file: Path) -> int:
    """The bytes that the file takes on its disk, which a copy with the same holes takes too."""
    return file.stat().st_blocks * 512


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as disk, target.open("wb") as file:
        sparse.copy(disk.fileno(), file.fileno())

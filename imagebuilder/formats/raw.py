"""raw: the scratch file with the disk, completed and moved; a copy on another filesystem."""

from __future__ import annotations

import errno
from pathlib import Path

from imagebuilder.disk.image import Image
from imagebuilder.formats import assembled, place
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner

SOURCE = Source.IMAGE
SUFFIXES = {"raw": ".raw"}


def write(source: Image, output: Output, run: Runner) -> Artefact:
    """Move the disk `source` to the output; copy it, holes included, to another filesystem."""
    del run  # no program does this better
    place.check(output)
    with assembled.digesting(source, output.checksums) as known:
        if source.file.stat().st_dev == output.path.parent.stat().st_dev:
            source = Image(file=assembled.whole(source))
            try:
                return place.move(source.file, output, known)
            except OSError as error:
                if error.errno != errno.EXDEV:  # another mount of the same filesystem
                    raise
        return place.place(
            output, lambda path: _copy(source, path, known), lambda: assembled.allocated(source)
        )


def alters(name: str) -> bool:
    """The disk is no longer where it was."""
    del name
    return True


def _copy(source: Image, target: Path, known: place.Known) -> place.Known:
    assembled.copy(source, target)
    return known

"""gce: the disk as Google Compute Engine imports it.

`disk.raw` in an archive of GNU tar's old format, with its holes, compressed with gzip. The disk is
enlarged to a whole number of GiB, with its GPT moved to the new end. The same disk gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagebuilder.formats import oldgnu, place, tar
from imagebuilder.formats.deflate import gzip
from imagebuilder.formats.grown import grown
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner
from imagebuilder.sizes import UNITS

SOURCE = Source.DISK
SUFFIXES = {"gce": ".gce.tar.gz"}
NAME = "disk.raw"  # what Compute Engine looks for


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the disk `source` into the output."""
    del run  # there is no program to start
    return place.place(
        output,
        lambda path: _fill(source, path, output),
        lambda: source.stat().st_blocks * 512,
    )


def alters(name: str) -> bool:
    """The disk is larger while it is packed."""
    del name
    return True


def _fill(disk: Path, target: Path, output: Output) -> Mapping[str, str]:
    with grown(disk, UNITS["GiB"]), disk.open("rb", buffering=0) as file:
        return tar.save(gzip(oldgnu.archive(file.fileno(), NAME, output.epoch)), target, output)

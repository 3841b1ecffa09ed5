"""squashfs: the root tree as one compressed filesystem that is only read.

mksquashfs makes it, with xz like diskimage-builder; `--squashfs-compression zstd` makes images that
are read much faster, by Linux 4.14 and newer. `/proc`, `/sys` and `/dev` are in it, and
empty. ACLs are not: squashfs has no place for them. Equal trees give equal bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.formats import place
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.formats.tar import EMPTY, allocated
from imagebuilder.process import Command, Runner

SOURCE = Source.TREE
SUFFIXES = {"squashfs": ".squash"}
FEATURES = ("mksquashfs",)
COMPRESSIONS = ("xz", "zstd", "gzip", "lz4", "lzo")


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the tree `source` into the output."""
    return place.place(
        output, lambda path: run(pack(source, path, output)), lambda: allocated(source)
    )


def check(output: Output) -> None:
    """Raise ConfigError unless mksquashfs knows the compression."""
    if output.squashfs not in COMPRESSIONS:
        raise ConfigError(
            f"squashfs has no compression {output.squashfs!r}",
            where="--squashfs-compression",
            hint=f"there are: {', '.join(COMPRESSIONS)}",
        )


def pack(tree: Path, target: Path, output: Output) -> Command:
    """The command that writes `tree` to `target`."""
    hidden = (f"{name}/{pattern}" for name in EMPTY for pattern in ("*", ".*"))
    return Command((
        "mksquashfs", os.fspath(tree), os.fspath(target),
        "-noappend",
        "-no-progress",
        "-quiet",
        "-exit-on-error",
        "-comp", output.squashfs,
        "-mkfs-time", str(output.epoch),
        "-wildcards",
        "-e", *hidden,
    ))  # fmt: skip

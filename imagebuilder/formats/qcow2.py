"""qcow2, compressed with zstd by a writer of our own; in other ways by qemu-img.

qemu-img has the disks that are not to be compressed, and those with options for it
(`--qemu-img-options`). Either way clusters are compressed on all cores but written in order, so
that equal disks give equal files (`qemu-img convert -W` does not). Readers need QEMU 5.1 of
2020; `compat=0.10` or `compression_type=zlib` among the options is for those that are older. A
disk that was read from a compressed qcow2 keeps its kind, and unchanged clusters as they are there.
"""

from __future__ import annotations

import os
from pathlib import Path

from imagebuilder.disk.image import Image
from imagebuilder.formats import place, qcow2_writer, zstd
from imagebuilder.formats.assembled import allocated, whole
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Command, Runner

SOURCE = Source.IMAGE
SUFFIXES = {"qcow2": ".qcow2"}
FEATURES = ("qemu-img",)
IN_FLIGHT = 16  # clusters at work at once; the most that qemu-img takes
WITHOUT_ZSTD = {"compat=0.10", "compat=v2"}


def write(source: Image, output: Output, run: Runner) -> Artefact:
    """Convert the disk `source` to the output."""
    return place.place(
        output,
        lambda path: _fill(source, path, output, run),
        lambda: allocated(source),
        in_order=_is_ours(output),
    )


def for_qemu_img(name: str) -> tuple[str, tuple[str, ...]]:
    """qemu-img's name for the format, and the options that it always gets."""
    return name, ()


def _fill(source: Image, target: Path, output: Output, run: Runner) -> None:
    if _is_ours(output):
        memory = output.memory
        memory.made[output.path] = qcow2_writer.write(source, target, memory=memory)
    else:
        run(convert(whole(source), target, output))


def _is_ours(output: Output) -> bool:
    return output.compress and not output.options and zstd.available()


def convert(source: Path, target: Path, output: Output) -> Command:
    """The command that writes the disk `source` to `target`."""
    return Command((
        "qemu-img", "convert",
        "-f", "raw",
        "-O", "qcow2",
        "-m", str(IN_FLIGHT),
        *(("-c",) if output.compress else ()),
        *(("-o", ",".join(options(output))) if options(output) else ()),
        os.fspath(source.absolute()),
        os.fspath(target),
    ))  # fmt: skip


def options(output: Output) -> tuple[str, ...]:
    """What qemu-img gets as `-o`: what was asked for, and zstd where that leaves it open."""
    chosen = any(option.startswith("compression_type=") for option in output.options)
    if not output.compress or chosen or WITHOUT_ZSTD & {*output.options}:
        return output.options
    return (*output.options, "compression_type=zstd")

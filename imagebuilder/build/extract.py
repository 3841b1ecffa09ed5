"""The files of a disk image as an archive: opened like an image that is changed, and only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagebuilder import process, registry
from imagebuilder.build.existing_disk import RAW
from imagebuilder.build.scratch import scratch
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.existing import attach, source
from imagebuilder.existing.attach import Opening
from imagebuilder.filesystems import mounted
from imagebuilder.formats.model import Artefact, Output
from imagebuilder.hooks.place import Place
from imagebuilder.options import Request
from imagebuilder.sandbox.isolate import isolate

FORMATS = {".tar": "tar", ".tgz": "tgz", ".tar.gz": "tgz"}
NEVER = 2**33  # seconds: later than any file, so that every one keeps its time


def extract(image: Path, target: Path, environment: Mapping[str, str]) -> Artefact:
    """Write the files of all filesystems of the disk `image` to the archive `target`.

    Raise ConfigError, ToolMissingError or SpaceError; then there is no archive.
    """
    kind = next((FORMATS[end] for end in FORMATS if target.name.endswith(end)), "")
    if not kind:
        raise ConfigError(
            "is not the name of an archive",
            where=str(target),
            hint=f"it has to end in {', '.join(FORMATS)}",
        )
    reason = mounted.obstacle("ext4")
    if reason:
        raise ToolMissingError(
            f"the image cannot be opened: {reason}",
            where=str(image),
            hint="run as root on a host with loop devices",
        )
    output = Output(path=target.absolute(), format=kind, overwrite=True, epoch=NEVER)
    isolate()
    with (
        scratch(Request(environment=environment)) as place,
        source.blamed(image, place.images / RAW),
    ):
        if not source.compressor(image) and source.inspect(image, process.run).format == "raw":
            try:
                return _pack(_opening(image.absolute(), place, read_only=True), output)
            except OSError:
                pass  # a journal has to be replayed, which nobody does to a file of somebody else
        raw = place.images / RAW
        source.write_raw(image, raw, process.run)
        return _pack(_opening(raw, place), output)


def _opening(raw: Path, place: Place, *, read_only: bool = False) -> Opening:
    return Opening(raw=raw, tree=place.tree, scratch=place.scratch, read_only=read_only)


def _pack(opening: Opening, output: Output) -> Artefact:
    with attach.opened(opening) as disk:
        artefact: Artefact = registry.find("formats", output.format).write(
            opening.tree, output, opening.run
        )
        disk.close()
    return artefact

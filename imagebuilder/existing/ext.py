"""Removes from an ext filesystem what the kernel wrote into it only because it was mounted here."""

from __future__ import annotations

import os
from pathlib import Path

from imagebuilder.existing.model import Area
from imagebuilder.process import Command, Runner


def restore(raw: Path, area: Area, point: str, run: Runner) -> None:
    """Have it last mounted at `point`, and not in a directory of the builder's (`tune2fs -M`)."""
    place = f"{os.fspath(raw)}?offset={int(area.offset)}"
    run(Command(("tune2fs", "-M", point, place)))

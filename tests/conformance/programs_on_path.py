"""The installed programs, as commands that a shell finds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FUNCTIONS = {
    "disk-image-create": "disk_image_create",
    "ramdisk-image-create": "ramdisk_image_create",
    "diskimage-builder": "diskimage_builder",
}


def install(directory: Path) -> Path:
    """Write the programs into a directory `bin`, with their interpreter in the first line."""
    target = directory / "bin"
    target.mkdir(exist_ok=True)
    for name, function in FUNCTIONS.items():
        program = target / name
        program.write_text(
            f"#!{sys.executable}\nfrom imagebuilder.cli.start import {function}\n{function}()\n"
        )
        program.chmod(0o755)
    return target


def search_path(directory: Path) -> str:
    """A PATH that has them first."""
    return f"{install(directory)}:{os.environ['PATH']}"

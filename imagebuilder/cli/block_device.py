"""`dib-block-device`: what scripts and hooks ask diskimage-builder's helper of that name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagebuilder.cli.guard import guarded
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError

if TYPE_CHECKING:
    from imagebuilder.build.disk_state import Parameters

VARIABLE = "DIB_BLOCK_DEVICE_PARAMS_YAML"
COMMANDS = {
    "init": "check the configuration and write it in graph notation",
    "getval": "print something about the disk",
    "create": "make the disk, attach it, and mount its filesystems",
    "umount": "unmount its filesystems and detach it",
    "cleanup": "forget the disk; its image files stay",
    "delete": "unmount, detach, and remove the image files",
    "writefstab": "write etc/fstab into the tree",
}


def main(words: Sequence[str]) -> int:
    """Run one command; 0, or 1 and a message if that cannot be done."""
    given = parser().parse_args(words)
    return guarded(lambda: _run(given), status=lambda _: 1)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="dib-block-device", description="Answers questions about the disk of a build."
    )
    made.add_argument("--params", help=f"file of parameters (default: what {VARIABLE} names)")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=sentence(text))
        if name == "getval":
            command.add_argument("symbol", help="root-label, image-block-device, ...")
    return made


def _run(given: argparse.Namespace) -> int:
    from imagebuilder.build import block_device, disk_state

    path = given.params or os.environ.get(VARIABLE, "")
    if not path:
        raise ConfigError(f"{VARIABLE} or --params not set")
    found = disk_state.parameters(Path(path))
    if given.command == "getval":
        print(disk_state.value(found, given.symbol))
        return 0
    actions: Mapping[str, Callable[[Parameters], None]] = {
        "init": disk_state.write_configuration,
        "create": block_device.create,
        "umount": block_device.umount,
        "cleanup": block_device.cleanup,
        "delete": block_device.delete,
        "writefstab": block_device.write_fstab,
    }
    actions[given.command](found)
    return 0

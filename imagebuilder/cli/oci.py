"""`imagebuilder oci`: the files of a container image, without a daemon."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.oci import load, unpack

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = actions.add_parser("unpack", help="fill a directory with the files of an image")
    action.add_argument(
        "image", type=Path, metavar="IMAGE", help="OCI layout, archive of one, or of docker save"
    )
    action.add_argument("directory", type=Path, metavar="DIRECTORY", help="what is to be filled")
    machine = ARCHITECTURES.get(platform.machine(), platform.machine())
    action.add_argument(
        "--arch", default=machine, metavar="ARCH", help=f"of several the one for ARCH; {machine}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Unpack; the exit status."""
    if not arguments.directory.is_dir():
        raise ConfigError("there is no such directory", where=str(arguments.directory))
    image = load.load(arguments.image, arguments.arch)
    unpack.unpack(image, arguments.directory)
    return 0

"""`imagebuilder disk`: what is in a disk image that somebody else has made."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagebuilder.build.extract import extract


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "write the files of all its filesystems to an archive"
    action = actions.add_parser("extract", help=summary, description=summary.capitalize() + ".")
    # fmt: off
    action.add_argument("image", type=Path, metavar="IMAGE",
                        help="raw, qcow2, vmdk, vhdx or vdi; with partitions or a filesystem")
    action.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help="the archive: FILE.tar or FILE.tgz")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    extract(arguments.image, arguments.output, arguments.environment)
    return 0

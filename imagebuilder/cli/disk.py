"""`imagebuilder disk`: what is in a disk image that somebody else has made."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imagebuilder import process
from imagebuilder.build.extract import extract
from imagebuilder.cli.table import table
from imagebuilder.cli.words import sentence
from imagebuilder.existing import peek
from imagebuilder.existing.model import Contents
from imagebuilder.existing.source import Info

TITLES = ("NUMBER", "SIZE", "CONTENT", "LABEL", "UUID", "NAME")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        # fmt: off
        action.add_argument("image", type=Path, metavar="IMAGE",
                            help="raw, qcow2, vmdk, vhdx or vdi; with partitions or a filesystem")
        if name == "ls":
            action.add_argument("--json", action="store_true", help="print JSON")
        else:
            action.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                                help="the archive: FILE.tar or FILE.tgz")
        # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    act, _ = ACTIONS[arguments.action]
    act(arguments)
    return 0


def _extract(arguments: argparse.Namespace) -> None:
    extract(arguments.image, arguments.output, arguments.environment)


def _ls(arguments: argparse.Namespace) -> None:
    told, found = peek.load(arguments.image, process.run)
    if arguments.json:
        print(json.dumps(_document(told, found), indent=2))
        return
    kind = f"{found.table.value} partition table" if found.table else "no partition table"
    print(f"{told.format}, {found.size}, {kind}, sectors of {found.sector} bytes\n")
    print(table(TITLES, list(_rows(found))))


def _rows(found: Contents) -> Iterator[tuple[str, ...]]:
    for area in found.areas:
        content = area.content
        about = (content.type, content.label, content.uuid) if content else ("unknown", "", "")
        yield str(area.number), str(area.size), *about, area.name


def _document(told: Info, found: Contents) -> dict[str, Any]:
    return {
        "format": told.format,
        "size": found.size,
        "table": found.table.value if found.table else None,
        "sector": found.sector,
        "areas": [dataclasses.asdict(area) for area in found.areas],
    }


Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "ls": (_ls, "list its partitions and filesystems"),
    "extract": (_extract, "write the files of all its filesystems to an archive"),
}

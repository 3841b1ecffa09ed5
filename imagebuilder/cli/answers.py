"""`imagebuilder answers`: unattended answers checked, and put where the installer looks."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from imagebuilder.answers import place
from imagebuilder.answers.load import KINDS, load
from imagebuilder.answers.model import Answers, Place, Placement, Scripts
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    # fmt: off
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        action.add_argument("answers", type=Path, metavar="FILE")
        action.add_argument("--kind", default="", metavar="KIND",
                            help=f"{KINDS} (default: what it looks like)")
        action.add_argument("--pre", action="append", default=[], type=Path, metavar="SCRIPT",
                            help="a script to become a %%pre section of a kickstart file")
        action.add_argument("--post", action="append", default=[], type=Path, metavar="SCRIPT",
                            help="a script to become a %%post section of a kickstart file")
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "place":
            action.add_argument("--in", dest="place", required=True,
                                choices=[each.value for each in Place],
                                help="where the installer is to find them")
            action.add_argument("--base", default="", metavar="TEXT",
                                help="the URL of their directory, for network; the volume id of "
                                     "the medium; the label of the partition")
            action.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                                help="where to write the files that belong in that place")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    scripts = Scripts(pre=tuple(arguments.pre), post=tuple(arguments.post))
    answers = load(arguments.answers, arguments.kind, scripts)
    act, _ = ACTIONS[arguments.action]
    act(arguments, answers)
    for remark in answers.remarks:
        print(f"warning: {answers.where}: {remark}", file=sys.stderr)
    return 0


def _check(arguments: argparse.Namespace, answers: Answers) -> None:
    if arguments.json:
        row = {"kind": answers.kind.value, "file": answers.where, "remarks": answers.remarks}
        print(json.dumps(row, indent=2))
    else:
        print(f"{answers.where}: {answers.kind.value}")


def _place(arguments: argparse.Namespace, answers: Answers) -> None:
    wanted = place.placement(answers, Place(arguments.place), arguments.base)
    files = dict((*wanted.files, *wanted.medium))
    for name, content in files.items():
        _write(arguments.output / name, content)
    if arguments.json:
        print(json.dumps(_document(answers, wanted), indent=2))
        return
    print(f"arguments: {shlex.join(wanted.arguments)}")
    for name in files:
        print(f"file: {arguments.output / name}")
    for name in wanted.needed:
        print(f"the medium must have: {name}")


def _document(answers: Answers, wanted: Placement) -> dict[str, object]:
    return {
        "kind": answers.kind.value,
        "place": wanted.place.value,
        "files": [name for name, _ in wanted.files],
        "medium": [name for name, _ in wanted.medium],
        "needed": list(wanted.needed),
        "arguments": list(wanted.arguments),
    }


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error


Action = Callable[[argparse.Namespace, Answers], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "check": (_check, "say whether an installer would take answers, and which one"),
    "place": (
        _place,
        "write the files that an installer looks for, and say the kernel's arguments",
    ),
}

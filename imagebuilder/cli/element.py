"""`imagebuilder element new NAME`: the beginnings of an element, in which no linter finds fault."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from imagebuilder.cli.words import sentence
from imagebuilder.element import scaffold
from imagebuilder.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "make an element with README, element.yaml, a hook and package-installs"
    new = actions.add_parser("new", help=summary, description=sentence(summary))
    new.add_argument("name", metavar="NAME", help="what to call it")
    new.add_argument(
        "--directory", type=Path, default=Path("elements"), metavar="DIR",
        help="directory of elements to make it in (default: elements)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Make the element; the exit status."""
    texts = scaffold.files(arguments.name)
    element = arguments.directory / arguments.name
    try:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        element.mkdir()
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=str(element)) from error
    try:
        for name, text in texts.items():
            file = element / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if scaffold.is_program(name) else 0o644)
    except OSError as error:
        shutil.rmtree(element, ignore_errors=True)
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(element)) from error
    for name in texts:
        print(element / name)
    print(f"next: ELEMENTS_PATH={arguments.directory} imagebuilder lint {arguments.name}")
    return 0

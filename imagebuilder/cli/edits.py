"""Options of the verbs that write a copy of something with changes of the files in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from imagebuilder.initrd.source import Wish
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.output import Target

WISH = "a file or directory, owned by root; into PATH if that ends in /"


def add_extract(action: argparse.ArgumentParser) -> None:
    """Where files are extracted to."""
    # fmt: off
    action.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="an empty directory, or one that is not there")
    # fmt: on


def add_target(action: argparse.ArgumentParser, what: str) -> None:
    """Where the copy goes."""
    # fmt: off
    action.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help=f"the new {what}")
    action.add_argument("--force", action="store_true", help="replace FILE if it exists")
    # fmt: on


def add_files(action: argparse.ArgumentParser, more: str = "") -> None:
    """What is added; `more` is said of it besides."""
    action.add_argument("--add", action="append", default=[], metavar="SOURCE:PATH",
                        help=WISH + more)  # fmt: skip


def add_deletions(action: argparse.ArgumentParser) -> None:
    """What is deleted."""
    action.add_argument("--delete", action="append", default=[], metavar="PATH",
                        help="a file, or a directory with all that is in it")  # fmt: skip


def add_texts(action: argparse.ArgumentParser, what: str) -> None:
    """Which texts change."""
    # fmt: off
    action.add_argument("--replace", action="append", default=[], nargs=3,
                        metavar=("PATH", "OLD", "NEW"), help="a text in a file, everywhere")
    action.add_argument("--patch", action="append", default=[], type=Path, metavar="DIFF",
                        help=f"a unified diff (as for patch -p1) of files in the {what}")
    # fmt: on


def target(arguments: argparse.Namespace) -> Target:
    """Where the copy goes."""
    return Target(path=arguments.output, force=arguments.force)


def wishes(texts: Iterable[str]) -> tuple[Wish, ...]:
    """SOURCE:PATH, parsed; raise ConfigError for what is not like that."""
    return tuple(Wish.parse(text) for text in texts)


def substitutions(rows: Iterable[tuple[str, str, str]]) -> tuple[Substitution, ...]:
    """PATH OLD NEW, as a change."""
    return tuple(Substitution(path=path, old=old, new=new) for path, old, new in rows)

"""Several images from files: the program `diskimage-builder`, and `imagebuilder build FILE`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder.batch.load import SCHEMA, Image, load
from imagebuilder.batch.prepare import Batch, Task, prepare
from imagebuilder.batch.run import How, Outcome, Shown, run
from imagebuilder.cli.guard import complain, guarded
from imagebuilder.element.environment import redact
from imagebuilder.errors import BuildError, ConfigError, Interrupted
from imagebuilder.options import split
from imagebuilder.schema import descriptions

PROGRAM = "diskimage-builder"
SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True)
class Printer:
    """Prints command lines and complaints on standard error, and the rest on standard output."""

    labels: dict[str, str]  # by the image's name; empty: lines are printed as they are

    def shown(self) -> Shown:
        """What `run` calls."""
        return Shown(begun=self.begun, line=self.line, ended=self.ended)

    def begun(self, task: Task) -> None:
        """Print the command line, without secrets."""
        print_command(redact(str(task.image), task.secrets))

    def line(self, task: Task, text: str) -> None:
        """Print what an image's build has printed."""
        label = self.labels.get(task.image.name)
        print(f"{label} | {text}" if label else text, flush=True)

    def ended(self, outcome: Outcome) -> None:
        """Complain of what has kept an image from being begun."""
        if outcome.error:
            complain(outcome.error)


def main(words: Sequence[str]) -> int:
    """The program `diskimage-builder`: 0, 128 + signal, or 1."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Builds the images that YAML files describe.",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a list of images")
    add_arguments(parser, jobs=1)
    arguments = parser.parse_args(words)
    return guarded(lambda: min(build(arguments, ()), 1), status=_status)


def add_arguments(parser: argparse.ArgumentParser, jobs: int) -> None:
    """What can be said of all images together; `jobs` is how many are built at once by default."""
    known = f"default: {jobs}" if jobs else "default: as many as there are processors"
    parser.add_argument(
        "-j", "--jobs", type=_number, default=jobs, metavar="N",
        help=f"images to build at once, if there is room enough ({known})",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print the command lines, and build nothing"
    )
    parser.add_argument(
        "--stop-on-failure", action="store_true", help="begin no other image once one has failed"
    )


def from_words(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]] | None:
    """What the words of `imagebuilder build` ask for, if they name files; and common options.

    Raise ConfigError if they name elements as well.
    """
    parser = argparse.ArgumentParser(prog="imagebuilder build", add_help=False, allow_abbrev=False)
    add_arguments(parser, jobs=0)
    arguments, rest = parser.parse_known_args(words)
    options, names = split(rest)
    files = [name for name in names if name.endswith(SUFFIXES)]
    if not files or {"-h", "--help", "--version"} & set(options):
        return None
    if len(files) < len(names):
        other = next(name for name in names if name not in files)
        raise ConfigError(
            f"{files[0]} is a file of images, and {other!r} is not",
            hint="name either files or elements; the elements of images are in the file",
        )
    arguments.files = [Path(name) for name in files]
    return arguments, options


def build(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Build the images of `arguments.files`; 0, or the status of the first that has failed.

    `words` are options for all of them; those of an image win.
    """
    loaded = load(arguments.files)
    images = [replace(image, words=(*words, *image.words)) for image in loaded]
    if arguments.dry_run:
        for image in images:
            print_command(str(image))
        return 0
    batch = prepare(images, os.environ)
    jobs = arguments.jobs or len(os.sched_getaffinity(0))
    _say_sharing(batch)
    printer = Printer(labels(images) if jobs > 1 else {})
    how = How(jobs=jobs, stop_on_failure=arguments.stop_on_failure)
    outcomes = run(batch, how, printer.shown())
    print(table(outcomes), flush=True)
    return next((each.status for each in outcomes if each.status), 0)


def print_command(line: str) -> None:
    """A command line and an empty line, as diskimage-builder prints them."""
    print(f"{line}\n", file=sys.stderr, flush=True)


def labels(images: Sequence[Image]) -> dict[str, str]:
    """What the lines of each image begin with: its name, without directories if that is enough."""
    short = [Path(image.name).name for image in images]
    return {
        image.name: name if short.count(name) == 1 else image.name
        for image, name in zip(images, short, strict=True)
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """What became of each image."""
    rows = [("image", "status", "seconds", "outputs"), *map(_row, outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {status:<{widths[1]}}  {seconds:>{widths[2]}}  {outputs}".rstrip()
        for name, status, seconds, outputs in rows
    )


def help_text() -> str:
    """The keys of an image, as a help text."""
    rows = [(name, text) for name, text in descriptions(SCHEMA, "items", "properties").items()]
    width = max(len(name) for name, _ in rows) + 4
    lines = [
        textwrap.fill(
            text, 79, initial_indent=f"  {name:<{width - 2}}", subsequent_indent=" " * width
        )
        for name, text in rows
    ]
    return "\n".join(("A file is a list of mappings with these keys:", "", *lines))


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    task = outcome.task
    if outcome.status is None:
        return task.image.name, "not begun", "", ""
    seconds = f"{outcome.seconds:.1f}"
    if outcome.status:
        return task.image.name, f"failed ({outcome.status})", seconds, ""
    return task.image.name, "built", seconds, ", ".join(map(str, task.outputs))


def _say_sharing(batch: Batch) -> None:
    for each in batch.sharing:
        print(
            f"{', '.join(each.images)} share a root tree with these packages:"
            f" {' '.join(each.packages)}\n",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _number(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number from 1: {text!r}")
    return int(text)


def _status(error: BuildError) -> int:
    return error.exit_status if isinstance(error, Interrupted) else 1

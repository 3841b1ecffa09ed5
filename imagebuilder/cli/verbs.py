"""`imagebuilder VERB`: one module each, loaded when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Sequence
from typing import NoReturn

from imagebuilder import __version__
from imagebuilder.cli.guard import guarded
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError

VERBS = {
    "build": "build an image from elements, or the images that files describe",
    "plan": "show what a build would do",
    "elements": "list, search and show elements",
    "element": "make a new element",
    "lint": "look for mistakes in elements",
    "doctor": "show which host tools are needed and which are missing",
    "cache": "list, measure, check and prune what builds have kept",
    "boot": "start an image in qemu and wait for what it should say",
    "initrd": "look into an initrd and change it, without unpacking it",
    "iso": "look into an installer's ISO image, and copy it with changes",
    "disk": "look into a disk image that is there already",
    "squashfs": "look into a squashfs image, and copy it with changes",
    "deb": "take Debian packages apart, change them, and add them to pools",
    "netboot": "make sets of files that machines start from by network, and serve them",
    "answers": "check unattended answers, and put them where installers look",
    "oci": "fill a directory with the files of a container image",
}
OR_FILES = """

or: imagebuilder build [-j N] [--dry-run] [--stop-on-failure] [OPTION]... FILE.yaml...

Builds the images that files describe, N at once; 'diskimage-builder --help' lists their keys."""
TAKES_BUILD_OPTIONS = ("build", "plan")


class Parser(argparse.ArgumentParser):
    """One that ends with the program's own kind of error; those of its verbs are such too."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        where = self.prog.removeprefix("imagebuilder ")
        raise ConfigError(message, where=where, hint=f"'{self.prog} --help' lists what there is")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As always, but a verb that builds nothing names itself where it knows no such word."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self.prog.split()[1:] not in ([], *([verb] for verb in TAKES_BUILD_OPTIONS)):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


def main(words: Sequence[str]) -> int:
    """Run one verb; its exit status."""
    if words and words[0] == "build":
        return guarded(lambda: _build(words[1:]))
    return guarded(lambda: _dispatch(words))


def _build(words: Sequence[str]) -> int:
    if any(word.endswith((".yaml", ".yml")) for word in words):
        from imagebuilder.cli import images

        if several := images.from_words(words):
            return images.build(*several)
    from imagebuilder.cli.create import create

    return create(words, "imagebuilder build", OR_FILES)


def _dispatch(words: Sequence[str]) -> int:
    parser = _parser(words[0] if words else "")
    arguments, rest = parser.parse_known_args(words)
    if not arguments.verb:
        parser.print_help()
        return 2
    arguments.words = rest
    arguments.environment = os.environ
    status: int = importlib.import_module(f"imagebuilder.cli.{arguments.verb}").run(arguments)
    return status


def _parser(wanted: str) -> Parser:
    """The parser; only the wanted verb's own module is loaded."""
    parser = Parser(
        prog="imagebuilder", description="Builds operating-system images from elements."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=sentence(summary))
        if name == wanted and name != "build":
            importlib.import_module(f"imagebuilder.cli.{name}").add_arguments(verb)
    return parser

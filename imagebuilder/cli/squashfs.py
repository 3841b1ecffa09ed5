"""`imagebuilder squashfs`: what is in a squashfs image, and copies of it with changes.

Nothing is mounted or unpacked, and no privilege is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagebuilder.cli import edits
from imagebuilder.cli.initrd import epoch, file_document, listed
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError
from imagebuilder.remaster import output
from imagebuilder.remaster import squashfs as story
from imagebuilder.remaster.squashfs import TreeChanges
from imagebuilder.squashfs import stream, superblock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        if name == "pack":
            action.add_argument("tree", type=Path, metavar="DIR")
        elif name != "layer":
            action.add_argument("image", type=Path, metavar="IMAGE")
        if name == "ls":
            action.add_argument("--json", action="store_true", help="print JSON")
        elif name == "cat":
            action.add_argument("path", metavar="PATH", help="a file in the image")
        elif name == "extract":
            edits.add_extract(action)
        else:
            edits.add_target(action, "image")
            (_add_making if name == "pack" else _add_changes)(action)


def _add_making(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("--like", type=Path, metavar="IMAGE",
                        help="an image that is made as the new one is to be")
    action.add_argument("--compress", default="", metavar="KIND[:OPTIONS]",
                        help="gzip, xz, lzo, lz4 or zstd, with options of tar2sqfs: zstd:level=3")
    # fmt: on


def _add_changes(action: argparse.ArgumentParser) -> None:
    edits.add_files(action)
    edits.add_deletions(action)
    if action.prog.endswith(" layer"):
        action.add_argument("--on", type=Path, metavar="BASE",
                            help="the image that it is for: paths are followed in it")  # fmt: skip
    else:
        edits.add_texts(action, "image")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    act, _ = ACTIONS[arguments.action]
    act(arguments)
    return 0


def _ls(arguments: argparse.Namespace) -> None:
    made = superblock.load(arguments.image)
    files = story.listing(arguments.image).files
    if arguments.json:
        rows = [file_document(path, files[path]) for path in sorted(files)]
        print(json.dumps({**dataclasses.asdict(made), "files": rows}, indent=2))
        return
    options = f" ({', '.join(made.options)})" if made.options else ""
    print(f"{made.compressor}{options}, blocks of {made.block} bytes, {made.inodes} inodes")
    print()
    for path in sorted(files):
        print(listed(path, files[path]))


def _cat(arguments: argparse.Namespace) -> None:
    for piece in story.read(arguments.image, arguments.path):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _edit(arguments: argparse.Namespace) -> None:
    story.rewrite(arguments.image, edits.target(arguments), changes(arguments))


def _layer(arguments: argparse.Namespace) -> None:
    story.layer(edits.target(arguments), changes(arguments), arguments.on)


def _extract(arguments: argparse.Namespace) -> None:
    superblock.load(arguments.image)
    story.unpack(arguments.image, output.empty(arguments.output))


def _pack(arguments: argparse.Namespace) -> None:
    like = superblock.load(arguments.like) if arguments.like else story.USUAL
    if arguments.compress:
        kind, _, options = arguments.compress.partition(":")
        like = dataclasses.replace(
            like, compressor=kind, options=tuple(filter(None, options.split(",")))
        )
    if not arguments.tree.is_dir():
        raise ConfigError("is not a directory", where=str(arguments.tree))
    target, moment = edits.target(arguments), epoch(arguments.environment)
    output.free(target)
    stream.check(like, str(arguments.like or "--compress"))
    if lost := story.with_acls(arguments.tree):
        some = f"{', '.join(lost[:3])}{', ...' * (len(lost) > 3)}"
        print(
            f"warning: squashfs cannot hold the ACLs of {len(lost)} files: {some}", file=sys.stderr
        )
    output.made(target, lambda path: story.pack(arguments.tree, path, like, moment), 0)


def changes(arguments: argparse.Namespace) -> TreeChanges:
    """What the options ask for; raise ConfigError for one that cannot be understood."""
    own: dict[str, Any] = vars(arguments)
    return TreeChanges(
        delete=tuple(own.get("delete", ())),
        add=edits.wishes(own.get("add", ())),
        replace=edits.substitutions(own.get("replace", ())),
        patches=tuple(own.get("patch", ())),
        epoch=epoch(arguments.environment),
    )


Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "ls": (_ls, "say how it was made, and list its files"),
    "cat": (_cat, "print one file"),
    "extract": (_extract, "write all files to a directory, with their owners: as root"),
    "pack": (_pack, "write an image of a directory's files"),
    "edit": (_edit, "write a copy with files added, replaced, patched and deleted"),
    "layer": (_layer, "write an image to be stacked on another, that adds and hides files"),
}

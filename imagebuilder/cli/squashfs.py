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

from imagebuilder.cli.initrd import epoch, file_document, listed
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.remaster import output
from imagebuilder.remaster import squashfs as story
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges
from imagebuilder.squashfs import superblock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == "pack":
            action.add_argument("tree", type=Path, metavar="DIR")
        elif name != "layer":
            action.add_argument("image", type=Path, metavar="IMAGE")
        if name == "ls":
            action.add_argument("--json", action="store_true", help="print JSON")
        elif name == "cat":
            action.add_argument("path", metavar="PATH", help="a file in the image")
        elif name == "extract":
            action.add_argument(
                "-o",
                "--output",
                type=Path,
                required=True,
                metavar="DIR",
                help="an empty directory, or one that is not there",
            )
        else:
            _add_target(action)
            (_add_making if name == "pack" else _add_changes)(action)


def _add_target(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help="the new image")
    action.add_argument("--force", action="store_true", help="replace FILE if it exists")
    # fmt: on


def _add_making(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("--like", type=Path, metavar="IMAGE",
                        help="an image that is made as the new one is to be")
    action.add_argument("--compress", default="", metavar="KIND[:OPTIONS]",
                        help="gzip, xz, lzo, lz4 or zstd, with options of tar2sqfs: zstd:level=3")
    # fmt: on


def _add_changes(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("--add", action="append", default=[], metavar="SOURCE:PATH",
                        help="a file or directory, owned by root; into PATH if that ends in /")
    action.add_argument("--delete", action="append", default=[], metavar="PATH",
                        help="a file, or a directory with all that is in it")
    if action.prog.endswith(" layer"):
        action.add_argument("--on", type=Path, metavar="BASE",
                            help="the image that it is for: paths are followed in it")
        return
    action.add_argument("--replace", action="append", default=[], nargs=3,
                        metavar=("PATH", "OLD", "NEW"), help="a text in a file, everywhere")
    action.add_argument("--patch", action="append", default=[], type=Path, metavar="DIFF",
                        help="a unified diff (as for patch -p1) of files in the image")
    # fmt: on


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
    story.rewrite(arguments.image, _target(arguments), changes(arguments))


def _layer(arguments: argparse.Namespace) -> None:
    story.layer(_target(arguments), changes(arguments), arguments.on)


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
    target, moment = _target(arguments), epoch(arguments.environment)
    output.free(target)
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
        delete=tuple(arguments.delete),
        add=tuple(Wish.parse(text) for text in arguments.add),
        replace=tuple(
            Substitution(path=path, old=old, new=new) for path, old, new in own.get("replace", ())
        ),
        patches=tuple(own.get("patch", ())),
        epoch=epoch(arguments.environment),
    )


def _target(arguments: argparse.Namespace) -> Target:
    return Target(path=arguments.output, force=arguments.force)


Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "ls": (_ls, "say how it was made, and list its files"),
    "cat": (_cat, "print one file"),
    "extract": (_extract, "write all files to a directory, with their owners: as root"),
    "pack": (_pack, "write an image of a directory's files"),
    "edit": (_edit, "write a copy with files added, replaced, patched and deleted"),
    "layer": (_layer, "write an image to be stacked on another, that adds and hides files"),
}

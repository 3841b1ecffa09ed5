"""`imagebuilder iso`: what is in an installer's ISO image, and copies of it with changes.

Nothing is mounted and no privilege is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from imagebuilder import process
from imagebuilder.cli import iso_remaster, iso_test, iso_texts
from imagebuilder.cli.words import sentence
from imagebuilder.errors import ConfigError
from imagebuilder.iso import compare, roles, tree, xorriso
from imagebuilder.iso.probe import probe
from imagebuilder.remaster import iso_diff, output

DIFFERENT = 1  # as diff(1) has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        if name != "remaster":
            action.add_argument("iso", type=Path, metavar="ISO")
        if name in ("show", "ls", "boot", "diff", "test"):
            action.add_argument("--json", action="store_true", help="print JSON")
        _add_own(name, action)


def _add_own(name: str, action: argparse.ArgumentParser) -> None:
    # fmt: off
    if name == "ls":
        action.add_argument("path", nargs="?", default="", metavar="PATH",
                            help="only what is there")
    elif name == "cat":
        action.add_argument("path", metavar="PATH", help="a file in the image")
    elif name == "extract":
        action.add_argument("paths", nargs="*", metavar="PATH", help="default: everything")
        action.add_argument("--without", action="append", default=[], metavar="PATH",
                            help="all but this")
        action.add_argument("--netboot", action="store_true",
                            help="the kernels and initrds that the menus name")
        action.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                            help="an empty directory, or one that is not there")
    elif name == "boot":
        action.add_argument("--mkisofs", action="store_true",
                            help="the options of mkisofs that would make it so (takes xorriso)")
    elif name == "diff":
        action.add_argument("other", type=Path, metavar="OTHER")
        action.add_argument("--html", type=Path, metavar="FILE",
                            help="write one page that needs no other file")
    elif name == "remaster":
        iso_remaster.add_arguments(action)
    elif name == "test":
        iso_test.add_arguments(action)
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; `diff` ends with 1 if there are differences."""
    act, _ = ACTIONS[arguments.action]
    return act(arguments) or 0


def _show(arguments: argparse.Namespace) -> None:
    files = tree.load(probe(arguments.iso))
    if arguments.json:
        print(json.dumps(iso_texts.document(files), indent=2))
    else:
        print("\n".join(iso_texts.shown(files)))


def _ls(arguments: argparse.Namespace) -> None:
    files = tree.load(probe(arguments.iso))
    nodes = sorted(files.below(arguments.path), key=lambda node: node.path)
    if arguments.json:
        print(json.dumps([iso_texts.node_document(node) for node in nodes], indent=2))
        return
    for node in nodes:
        print(iso_texts.listed(node))


def _cat(arguments: argparse.Namespace) -> None:
    files = tree.load(probe(arguments.iso))
    for piece in files.pieces(files.file(arguments.path)):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _extract(arguments: argparse.Namespace) -> None:
    files = tree.load(probe(arguments.iso))
    paths = arguments.paths or ([] if arguments.netboot else [""])
    nodes = {node.path: node for path in paths for node in files.below(path)}
    if arguments.netboot:
        started = [p for e in roles.entries(files) for p in (e.kernel, *e.initrds) if p]
        nodes |= {path: files.file(path) for path in dict.fromkeys(started)}
    if not nodes:
        raise ConfigError("no menu names a kernel", where=str(arguments.iso))
    left = {node.path for path in arguments.without for node in files.below(path)}
    wanted = [node for node in nodes.values() if node.path not in left]
    files.extract(wanted, output.empty(arguments.output), _warn)


def _boot(arguments: argparse.Namespace) -> None:
    iso = probe(arguments.iso)
    if arguments.mkisofs:
        output = process.run(xorriso.mkisofs(arguments.iso)).output
        print("\n".join(line for line in output.splitlines() if line.startswith(("-", "'"))))
    elif arguments.json:
        print(json.dumps(iso_texts.boot_document(iso), indent=2))
    else:
        print("\n".join(compare.boot_lines(iso)))


def _diff(arguments: argparse.Namespace) -> int:
    target = output.Target(path=arguments.html, force=True) if arguments.html else None
    if target:
        output.free(target)
    old, new = (tree.load(probe(path)) for path in (arguments.iso, arguments.other))
    found = iso_diff.parts(old, new)
    if target:
        page = iso_texts.page(arguments.iso, arguments.other, found)
        output.write(target, page.encode(errors="replace"))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(part) for part in found], indent=2))
    elif not arguments.html:
        print("\n".join(iso_diff.shown(found)) or "no difference")
    return DIFFERENT if found else 0


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


Action = Callable[[argparse.Namespace], int | None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "show": (_show, "say what an image is, how it boots, and what its files are for"),
    "ls": (_ls, "list its files"),
    "cat": (_cat, "print one file"),
    "extract": (_extract, "write files to a directory"),
    "boot": (_boot, "say how it boots: boot catalog and partition tables"),
    "diff": (_diff, "say what is different in another image"),
    "test": (iso_test.run, "start it in qemu: as a CD and a disk, by BIOS, UEFI and Secure Boot"),
    "remaster": (iso_remaster.run, "write a copy with changes, which boots as the original does"),
}

"""`imagebuilder initrd`: what is in an initial RAM filesystem, and changes of it.

No privilege is needed, and nothing is unpacked to disk.
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagebuilder.cli import edits
from imagebuilder.cli.words import sentence
from imagebuilder.codec.table import BY_NAME
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import kernels, load, modules, rootfs
from imagebuilder.initrd.model import RAW, Initrd
from imagebuilder.initrd.rootfs import File, Rootfs
from imagebuilder.plan.epoch import EPOCH
from imagebuilder.remaster import directory, output
from imagebuilder.remaster import initrd as story
from imagebuilder.remaster.initrd import Changes

TYPES = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        action.add_argument("initrd", type=Path, metavar="INITRD")
        if name == "ls":
            action.add_argument("--segments", action="store_true", help="only the segments")
            action.add_argument("--json", action="store_true", help="print JSON")
        elif name == "cat":
            action.add_argument("path", metavar="PATH", help="a file in the initrd")
        elif name == "extract":
            edits.add_extract(action)
        else:
            _add_changes(name, action)


def _add_changes(name: str, action: argparse.ArgumentParser) -> None:
    edits.add_target(action, "initrd")
    edits.add_files(action)
    # fmt: off
    action.add_argument("--program", action="append", default=[], metavar="SOURCE:PATH",
                        help="a program, with the shared libraries that it needs")
    action.add_argument("--libraries-from", type=Path, default=Path("/"), metavar="DIR",
                        help="the root tree that programs' libraries are taken from (default: /)")
    action.add_argument("--module", action="append", default=[], type=Path, metavar="FILE.ko",
                        help="a kernel module, checked against those that are there")
    action.add_argument("--kernel", type=Path, metavar="FILE",
                        help="the kernel that modules have to be for (default: the one beside it)")
    action.add_argument("--compress", choices=(RAW, *BY_NAME), default="",
                        help="default: as it was")
    if name == "edit":
        action.add_argument("--tree", type=Path, metavar="DIR",
                            help="what DIR has become, into which the initrd was extracted")
        action.add_argument("--unchanged", action="store_true",
                            help="no change is no error: FILE is the same")
        edits.add_deletions(action)
        edits.add_texts(action, "initrd")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    act, _ = ACTIONS[arguments.action]
    act(arguments)
    return 0


def _ls(arguments: argparse.Namespace) -> None:
    initrd = load.load(output.read(arguments.initrd), str(arguments.initrd))
    root = rootfs.of(initrd)
    if arguments.json:
        document = {"segments": segments(initrd)}
        if not arguments.segments:
            document["files"] = [
                file_document(path, root.files[path]) for path in sorted(root.files)
            ]
        print(json.dumps(document, indent=2))
        return
    for line in summary(initrd):
        print(line)
    if not arguments.segments:
        print()
        for path in sorted(root.files):
            print(listed(path, root.files[path]))
    for remark in remarks(initrd, root):
        print(f"warning: {remark}", file=sys.stderr)


def _cat(arguments: argparse.Namespace) -> None:
    initrd = load.load(output.read(arguments.initrd), str(arguments.initrd))
    real, file = rootfs.of(initrd).find(arguments.path, initrd.where)
    if not stat.S_ISREG(file.mode):
        kind = TYPES.get(stat.S_IFMT(file.mode), "file of an unknown type")
        raise ConfigError(f"{real} is a {kind}", where=initrd.where)
    sys.stdout.buffer.write(file.content)
    sys.stdout.buffer.flush()


def _extract(arguments: argparse.Namespace) -> None:
    initrd = load.load(output.read(arguments.initrd), str(arguments.initrd))
    directory.extract_initrd(rootfs.of(initrd), output.empty(arguments.output))


def _append(arguments: argparse.Namespace) -> None:
    story.append(arguments.initrd, edits.target(arguments), changes(arguments))
    _warn_of_modules(arguments.module)


def _edit(arguments: argparse.Namespace) -> None:
    wanted = replace(changes(arguments), unchanged=arguments.unchanged)
    story.rewrite(arguments.initrd, edits.target(arguments), wanted)
    _warn_of_modules(arguments.module)


def _warn_of_modules(paths: Iterable[Path]) -> None:
    for path in paths:
        if not modules.parse(output.read(path), str(path)).signed:
            what = "is not signed: a kernel that was started by Secure Boot refuses it"
            print(f"warning: {path}: {what}", file=sys.stderr)


def changes(arguments: argparse.Namespace) -> Changes:
    """What the options ask for; raise ConfigError for one that cannot be understood."""
    own = vars(arguments)
    return Changes(
        tree=own.get("tree"),
        delete=tuple(own.get("delete", ())),
        add=edits.wishes(arguments.add),
        programs=edits.wishes(arguments.program),
        modules=tuple(arguments.module),
        replace=edits.substitutions(own.get("replace", ())),
        patches=tuple(own.get("patch", ())),
        kind=arguments.compress,
        epoch=epoch(arguments.environment),
        libraries_from=arguments.libraries_from,
        kernel=arguments.kernel or kernels.beside(arguments.initrd),
    )


def epoch(environment: Any) -> int:
    """The date of what is new, in seconds since 1970; raise ConfigError if it is no number."""
    given = environment.get("SOURCE_DATE_EPOCH", "") or str(EPOCH)
    if not given.isdecimal():
        raise ConfigError(f"not a number of seconds: {given!r}", where="SOURCE_DATE_EPOCH")
    return int(given)


def summary(initrd: Initrd) -> list[str]:
    """A line for each segment."""
    lines = []
    for number, row in enumerate(segments(initrd), 1):
        notes = [f"{row['kind']} at byte {row['start']}", f"{row['size']} bytes"]
        notes += [f"{row['entries']} entries"] + ["read early, not compressed"] * row["early"]
        lines.append(f"segment {number}: {', '.join(notes)}")
    return lines


def segments(initrd: Initrd) -> list[dict[str, Any]]:
    """What there is to know of each segment."""
    return [
        {
            "kind": segment.kind,
            "start": segment.start,
            "size": len(segment.raw),
            "entries": segment.entries,
            "early": segment.early,
            "objection": segment.objection,
        }
        for segment in initrd.segments
    ]


def remarks(initrd: Initrd, root: Rootfs) -> list[str]:
    """What the kernel would not read or make."""
    bad = [
        f"segment {number} and what follows is not read by the kernel: {segment.objection}"
        for number, segment in enumerate(initrd.segments, 1)
        if segment.objection
    ]
    lost = [f"{root.places[place]} is not made by the kernel: {why}" for place, why in root.lost]
    return bad + lost


def listed(path: str, file: File) -> str:
    """A line as `ls -l` writes it."""
    size = (
        f"{file.rdev[0]}, {file.rdev[1]}"
        if _is_device(file)
        else str(len(file.content) or file.size)
    )
    size = "0" if stat.S_ISLNK(file.mode) else size
    date = datetime.fromtimestamp(file.mtime, UTC)
    arrow = f" -> {file.target}" if stat.S_ISLNK(file.mode) else ""
    ids = f"{file.uid:>4} {file.gid:>4}"
    name = (path + arrow).encode(errors="surrogateescape").decode(errors="backslashreplace")
    return f"{stat.filemode(file.mode)} {ids} {size:>9} {date:%Y-%m-%d %H:%M} {name}"


def file_document(path: str, file: File) -> dict[str, Any]:
    """A file, for programs."""
    row: dict[str, Any] = {
        "path": path,
        "type": TYPES.get(stat.S_IFMT(file.mode), "unknown"),
        "mode": f"{stat.S_IMODE(file.mode):04o}",
        "uid": file.uid,
        "gid": file.gid,
        "mtime": file.mtime,
        "size": len(file.content) or file.size,
    }
    if stat.S_ISLNK(file.mode):
        row["target"] = file.target
    if _is_device(file):
        row["device"] = list(file.rdev)
    if len(file.names) > 1:
        row["names"] = sorted(file.names)
    return row


def _is_device(file: File) -> bool:
    return stat.S_ISCHR(file.mode) or stat.S_ISBLK(file.mode)


Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "ls": (_ls, "list its segments and files, as the kernel would have them"),
    "cat": (_cat, "print one file"),
    "extract": (_extract, "write its files to a directory, without devices"),
    "append": (_append, "add files in one more segment; what is there stays as it is, to the byte"),
    "edit": (_edit, "add, replace, patch and delete files in the segments that are there"),
}

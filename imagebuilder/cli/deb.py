"""`imagebuilder deb`: Debian packages taken apart, changed, built, and put into pools."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from imagebuilder import signing
from imagebuilder.cli import edits, squashfs
from imagebuilder.cli.initrd import epoch, listed
from imagebuilder.cli.words import sentence
from imagebuilder.deb import control, pool
from imagebuilder.deb.control import Paragraph
from imagebuilder.deb.pool import Addition, Directory
from imagebuilder.errors import ConfigError
from imagebuilder.remaster import deb as story
from imagebuilder.remaster import output
from imagebuilder.remaster.deb import DebChanges
from imagebuilder.remaster.output import Target

INSTALLED = " installed"
SIGNATURES = ("InRelease", "Release.gpg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, summary) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        ADDERS[name](action)


def _add_show(action: argparse.ArgumentParser) -> None:
    action.add_argument("package", type=Path, metavar="DEB")


def _add_unpack(action: argparse.ArgumentParser) -> None:
    action.add_argument("package", type=Path, metavar="DEB")
    action.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a new directory"
    )


def _add_build(action: argparse.ArgumentParser) -> None:
    action.add_argument("directory", type=Path, metavar="DIR")
    _add_changes(action)


def _add_patch(action: argparse.ArgumentParser) -> None:
    action.add_argument("package", type=Path, metavar="DEB")
    _add_changes(action)
    edits.add_files(action, "; DEBIAN/NAME is a control file")
    edits.add_deletions(action)
    edits.add_texts(action, "package")
    action.add_argument("--conffile", action="append", default=[], metavar="PATH",
                        help="make a file the administrator's")  # fmt: skip


def _add_changes(action: argparse.ArgumentParser) -> None:
    edits.add_target(action, "package")
    # fmt: off
    action.add_argument("--version-suffix", default="", metavar="TEXT",
                        help="behind the version, like +acme1")
    action.add_argument("--field", action="append", default=[], nargs=2,
                        metavar=("NAME", "VALUE"),
                        help="a field of the control file; an empty value takes it away")
    # fmt: on


def _add_add(action: argparse.ArgumentParser) -> None:
    # fmt: off
    action.add_argument("top", type=Path, metavar="DIR", help="the directory that a pool is in")
    action.add_argument("packages", type=Path, nargs="+", metavar="DEB")
    action.add_argument("--flat", metavar="PATH",
                        help="a directory in DIR of packages alone, without lists of them")
    action.add_argument("--suite", default="", metavar="NAME",
                        help="the suite of DIR/dists to list them in (default: the only one)")
    action.add_argument("--key", default="", metavar="KEY",
                        help="the GnuPG key to sign the suite with")
    action.add_argument("--unsigned", action="store_true",
                        help="remove the suite's signatures instead")
    action.add_argument("--export-key", type=Path, metavar="FILE",
                        help="write the public key, for those who are to trust it")
    action.add_argument("--installed", type=Path, metavar="FILE",
                        help="a dpkg status file: packages that need not be in the pool")
    action.add_argument("--allow-missing", action="store_true",
                        help="add packages although something that they depend on is missing")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    act, _ = ACTIONS[arguments.action]
    act(arguments)
    return 0


def _show(arguments: argparse.Namespace) -> None:
    (one,) = pool.given([(output.read(arguments.package), str(arguments.package))])
    print(str(one.package.fields), end="")


def _ls(arguments: argparse.Namespace) -> None:
    files = story.listing(arguments.package).files
    for path in sorted(files):
        print(listed(path, files[path]))


def _unpack(arguments: argparse.Namespace) -> None:
    _warn(arguments.package, story.unpack(arguments.package, arguments.output))


def _build(arguments: argparse.Namespace) -> None:
    made = story.build(arguments.directory, edits.target(arguments), changes(arguments))
    _warn(arguments.output, made)


def _patch(arguments: argparse.Namespace) -> None:
    made = story.patch(arguments.package, edits.target(arguments), changes(arguments))
    _warn(arguments.output, made)


def changes(arguments: argparse.Namespace) -> DebChanges:
    """What the options ask for; raise ConfigError for one that cannot be understood."""
    return DebChanges(
        tree=squashfs.changes(arguments),
        suffix=arguments.version_suffix,
        fields=dict(arguments.field),
        conffiles=tuple(vars(arguments).get("conffile", ())),
    )


def _add(arguments: argparse.Namespace) -> None:
    if not arguments.top.is_dir():
        raise ConfigError("no such directory", where=str(arguments.top))
    if arguments.export_key and not arguments.key:
        raise ConfigError("there is no key to export", hint="give --key KEY")
    moment = epoch(arguments.environment)
    added = pool.given((output.read(path), str(path)) for path in arguments.packages)
    installed = _installed(arguments.installed) if arguments.installed else []
    tree = Directory(top=arguments.top)
    if arguments.flat is not None:
        done = pool.flat(tree, arguments.flat, added, installed)
    else:
        done = pool.indexed(tree, arguments.suite, added, installed, moment)
    _check_missing(done, arguments)
    files = dict(done.files)
    gone = [*done.removed]
    for release in done.unsigned:
        signed, unsigned = _signatures(arguments, release, files[release], moment)
        files |= signed
        gone += unsigned
    if arguments.export_key:
        arguments.export_key.write_bytes(signing.public(arguments.key))
    _write(arguments.top, files, gone)


def _signatures(
    arguments: argparse.Namespace, release: str, content: bytes, moment: int
) -> tuple[dict[str, bytes], list[str]]:
    """New signatures of a suite, and the old ones that go."""
    home = release.rpartition("/")[0]
    there = [name for name in SIGNATURES if (arguments.top / home / name).exists()]
    if arguments.key:
        made = {
            "InRelease": signing.clear(content, arguments.key, moment),
            "Release.gpg": signing.detached(content, arguments.key, moment),
        }
        return {f"{home}/{name}": text for name, text in made.items()}, []
    if there and not arguments.unsigned:
        hint = "give --key KEY, or --unsigned to remove its signatures"
        raise ConfigError("is signed, and would be so no more", where=home, hint=hint)
    return {}, [f"{home}/{name}" for name in there]


def _installed(path: Path) -> list[Paragraph]:
    """The packages that a dpkg status file says are installed."""
    text = output.read(path).decode(errors="surrogateescape")
    return [row for row in control.paragraphs(text, str(path)) if _is_installed(row)]


def _is_installed(row: Paragraph) -> bool:
    return row.value("Status").endswith(INSTALLED)


def _check_missing(done: Addition, arguments: argparse.Namespace) -> None:
    if done.missing and not arguments.allow_missing:
        raise ConfigError(
            "\n".join(("the pool lacks what packages depend on:", *map(str, done.missing))),
            where=str(arguments.top),
            hint="add those too, name what is --installed, or --allow-missing",
        )
    _warn(arguments.top, map(str, done.missing))


def _write(top: Path, files: dict[str, bytes], gone: Iterable[str]) -> None:
    """Packages first, then lists, then what is signed: no reader sees a name without a file."""
    for path, content in sorted(files.items(), key=lambda item: _turn(item[0])):
        target = top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        output.write(Target(path=target, force=True), content)
        print(path)
    for path in gone:
        (top / path).unlink()
        print(f"removed {path}")


def _turn(path: str) -> tuple[int, str]:
    name = path.rpartition("/")[2]
    return (0 if name.endswith(".deb") else 2 if "Release" in name else 1), path


def _warn(where: Path, remarks: Iterable[str]) -> None:
    for remark in remarks:
        print(f"warning: {where}: {remark}", file=sys.stderr)


Action = Callable[[argparse.Namespace], None]
ACTIONS: dict[str, tuple[Action, str]] = {
    "show": (_show, "print a package's control file"),
    "ls": (_ls, "list a package's files"),
    "unpack": (_unpack, "write a package's tree and control files to a directory"),
    "build": (_build, "make a package of such a directory, with checksums and size that fit"),
    "patch": (_patch, "write a package with changes; owners and everything else stay"),
    "add": (_add, "add packages to a pool, renew its lists and sign them"),
}
ADDERS = {
    "show": _add_show,
    "ls": _add_show,
    "unpack": _add_unpack,
    "build": _add_build,
    "patch": _add_patch,
    "add": _add_add,
}

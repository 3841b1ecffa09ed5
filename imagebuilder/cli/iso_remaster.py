"""`imagebuilder iso remaster`: copies an image with changes, by options or by a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imagebuilder.answers.model import Scripts
from imagebuilder.cli import iso_test, iso_texts
from imagebuilder.cli.initrd import epoch
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import tree
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.probe import probe
from imagebuilder.process import find, missing
from imagebuilder.remaster import extras, iso_diff, output, recipe
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.extras import Extras
from imagebuilder.remaster.initrd import Changes, Substitution
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.iso_test import MODES
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges

WISH = "SOURCE:PATH"
TEXT = ("PATH", "OLD", "NEW")


def add_arguments(action: argparse.ArgumentParser) -> None:
    """The options of the action. The image itself may come from a recipe."""
    # fmt: off
    action.add_argument("iso", type=Path, metavar="ISO", nargs="?")
    action.add_argument("--recipe", type=Path, metavar="FILE.yaml",
                        help="options from a file; those beside it come after them")
    action.add_argument("-o", "--output", type=Path, metavar="FILE", help="the new image")
    action.add_argument("--force", action="store_true", help="replace FILE if it exists")
    action.add_argument("--dry-run", action="store_true",
                        help="say what would be done, and all that is in the way; write nothing")
    action.add_argument("--sha256", default="", metavar="DIGEST", help="what the image's has to be")
    action.add_argument("--key", default="", metavar="KEY",
                        help="the GnuPG key that renews signatures beside files that change")
    action.add_argument("--allow-unbootable", action="store_true",
                        help="copy an image that nothing can start")
    # fmt: on
    _add_files(action.add_argument_group("files"))
    _add_extras(action.add_argument_group("answers and packages"))
    _add_menus(action.add_argument_group("menus"))
    _add_initrds(action.add_argument_group("initrds"))
    _add_roots(action.add_argument_group("root filesystems (squashfs); IMAGE is a path on the CD"))
    _add_checks(action.add_argument_group("what to do with the new image"))


def _add_files(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--add", action="append", default=[], metavar=WISH,
                       help="a file or directory; into PATH if that ends in /")
    group.add_argument("--remove", action="append", default=[], metavar="PATH",
                       help="a file, or a directory with all that is in it")
    group.add_argument("--replace", action="append", default=[], nargs=3, metavar=TEXT,
                       help="a text in a file, everywhere")
    group.add_argument("--patch", action="append", default=[], type=Path, metavar="DIFF",
                       help="a unified diff (as for patch -p1) of files on the image")
    group.add_argument("--tree", type=Path, metavar="DIR",
                       help="what DIR has become, into which the image was extracted")
    group.add_argument("--volume-id", default="", metavar="ID",
                       help="another volume id, in menus that look for it too")
    # fmt: on


def _add_extras(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--answers", type=Path, metavar="FILE",
                       help="unattended answers: checked, put where the installer looks, and told")
    group.add_argument("--answers-pre", action="append", default=[], type=Path, metavar="SCRIPT",
                       help="a script to become a %%pre section of a kickstart file")
    group.add_argument("--answers-post", action="append", default=[], type=Path, metavar="SCRIPT",
                       help="a script to become a %%post section of a kickstart file")
    group.add_argument("--deb", action="append", default=[], type=Path, metavar="FILE",
                       help="a Debian package more in the image's pool")
    group.add_argument("--pool", default="", metavar="PATH",
                       help="a directory of packages, or dists/SUITE (default: the only suite)")
    group.add_argument("--pool-key", default="", metavar="KEY",
                       help="the GnuPG key to sign the suite with")
    group.add_argument("--allow-missing", action="store_true",
                       help="add packages although something that they depend on is missing")
    # fmt: on


def _add_menus(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--timeout", type=int, metavar="SECONDS",
                       help="how long the menus wait; 0 starts at once")
    group.add_argument("--default", default="", metavar="ENTRY",
                       help="the entry that starts: its number from 0, or its title")
    group.add_argument("--argument", action="append", default=[], metavar="WORD",
                       help="an argument more for every kernel")
    group.add_argument("--remove-argument", action="append", default=[], metavar="WORD",
                       help="one less, in full or by what is before its =")
    group.add_argument("--persist", action="store_true",
                       help="new arguments are for the installed system too (after ---)")
    group.add_argument("--keep-entry", action="append", default=[], metavar="PATTERN",
                       help="remove the menu entries whose titles fit no such pattern")
    group.add_argument("--drop-entry", action="append", default=[], metavar="PATTERN",
                       help="remove the menu entries whose titles fit")
    group.add_argument("--rename-entry", action="append", default=[], nargs=2,
                       metavar=("OLD", "NEW"), help="another title for a menu entry")
    # fmt: on


def _add_initrds(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--initrd", action="append", default=[], metavar="PATH",
                       help="which initrds change (default: those that menus name)")
    group.add_argument("--initrd-append", action="append", default=[], metavar=WISH,
                       help="a file or directory more, in one more segment")
    group.add_argument("--initrd-add", action="append", default=[], metavar=WISH,
                       help="a file or directory more, in the segments that are there")
    group.add_argument("--initrd-program", action="append", default=[], metavar=WISH,
                       help="a program, with the shared libraries that it needs")
    group.add_argument("--initrd-module", action="append", default=[], type=Path, metavar="FILE.ko",
                       help="a kernel module, checked against those that are there")
    group.add_argument("--initrd-delete", action="append", default=[], metavar="PATH",
                       help="a file, or a directory with all that is in it")
    group.add_argument("--initrd-replace", action="append", default=[], nargs=3, metavar=TEXT,
                       help="a text in a file, everywhere")
    group.add_argument("--initrd-patch", action="append", default=[], type=Path, metavar="DIFF",
                       help="a unified diff of files in them")
    # fmt: on


def _add_roots(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--squashfs-add", action="append", default=[], nargs=2,
                       metavar=("IMAGE", WISH), help="a file or directory more")
    group.add_argument("--squashfs-delete", action="append", default=[], nargs=2,
                       metavar=("IMAGE", "PATH"), help="a file, or a directory with all in it")
    group.add_argument("--squashfs-replace", action="append", default=[], nargs=4,
                       metavar=("IMAGE", *TEXT), help="a text in a file, everywhere")
    group.add_argument("--squashfs-patch", action="append", default=[], nargs=2,
                       metavar=("IMAGE", "DIFF"), help="a unified diff of files in it")
    # fmt: on


def _add_checks(group: argparse._ArgumentGroup) -> None:
    # fmt: off
    group.add_argument("--diff", type=Path, metavar="FILE.html",
                       help="write a page that says what is different in it")
    group.add_argument("--test-mode", action="append", default=[], choices=tuple(MODES),
                       metavar="MODE", help=f"start it: {', '.join(MODES)}")
    group.add_argument("--test-level", choices=("menu", "kernel"), default="kernel",
                       help="how far it has to come (default: kernel)")
    group.add_argument("--test-expect", action="append", default=[], metavar="REGEX",
                       help="what the console has to say")
    group.add_argument("--test-timeout", type=float, default=600, metavar="SECONDS",
                       help="for each mode (default: 600)")
    group.add_argument("--test-memory", default="1GiB", metavar="SIZE", help="default: 1GiB")
    group.add_argument("--test-keep", type=Path, metavar="DIR",
                       help="keep each mode's console and screen there")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Copy the image; 1 if the copy was to be started and did not."""
    wanted = with_recipe(arguments)
    if wanted.iso is None or wanted.output is None:
        what = "no image is named" if wanted.iso is None else "no output is named"
        raise ConfigError(what, where="iso remaster", hint="ISO -o FILE, or --recipe FILE.yaml")
    _check_afterwards(wanted)
    target = Target(path=wanted.output, force=wanted.force)
    act = story.planned if wanted.dry_run else story.remaster
    with extras.applied(wanted.iso, changes(wanted), _extras(wanted)) as (final, remarks):
        for remark in remarks:
            print(f"warning: {remark}", file=sys.stderr)
        for remark in act(wanted.iso, target, final):
            print(remark)
    return 0 if wanted.dry_run else _checked(wanted)


def with_recipe(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments, with those of the recipe that they name in front of them."""
    if not arguments.recipe:
        return arguments
    parser = argparse.ArgumentParser(prog=str(arguments.recipe), exit_on_error=False)
    add_arguments(parser)
    defaults = parser.parse_args([])
    try:
        made = parser.parse_args(recipe.load(arguments.recipe))
    except argparse.ArgumentError as error:
        raise ConfigError(error.message, where=str(arguments.recipe)) from error
    for name, value in vars(arguments).items():
        if isinstance(value, list) and name in vars(made):
            setattr(made, name, [*getattr(made, name), *value])
        elif name not in vars(made) or value != getattr(defaults, name):
            setattr(made, name, value)
    return made


def changes(arguments: argparse.Namespace) -> IsoChanges:
    """What the options ask for; raise ConfigError for one that cannot be understood."""
    if arguments.timeout is not None and arguments.timeout < 0:
        raise ConfigError("a time cannot be negative", where="--timeout")
    for option, words in (
        ("--argument", arguments.argument),
        ("--rename-entry", [word for row in arguments.rename_entry for word in row]),
    ):
        if not all(word.strip() for word in words):
            raise ConfigError("an empty one makes no sense", where=option)
    moment = epoch(arguments.environment)
    appended = Changes(add=_wishes(arguments.initrd_append), epoch=moment)
    edit = Changes(
        delete=tuple(arguments.initrd_delete),
        add=_wishes(arguments.initrd_add),
        programs=_wishes(arguments.initrd_program),
        modules=tuple(arguments.initrd_module),
        replace=_texts(arguments.initrd_replace),
        patches=tuple(arguments.initrd_patch),
        epoch=moment,
    )
    return IsoChanges(
        menus=_menus(arguments),
        volume_id=arguments.volume_id,
        tree=arguments.tree,
        add=_wishes(arguments.add),
        remove=tuple(arguments.remove),
        replace=_texts(arguments.replace),
        patches=tuple(arguments.patch),
        initrds=tuple(arguments.initrd),
        initrd=appended if appended.add else None,
        initrd_edit=edit if edit != Changes(epoch=moment) else None,
        squashfs=_roots(arguments, moment),
        sha256=arguments.sha256,
        key=arguments.key,
        epoch=moment,
        unbootable=arguments.allow_unbootable,
    )


def _extras(arguments: argparse.Namespace) -> Extras:
    return Extras(
        answers=arguments.answers,
        scripts=Scripts(pre=tuple(arguments.answers_pre), post=tuple(arguments.answers_post)),
        debs=tuple(arguments.deb),
        pool=arguments.pool,
        key=arguments.pool_key,
        allow_missing=arguments.allow_missing,
    )


def _menus(arguments: argparse.Namespace) -> MenuChange:
    return MenuChange(
        timeout=arguments.timeout,
        default=arguments.default,
        arguments=ArgumentChange(
            add=tuple(arguments.argument),
            remove=tuple(arguments.remove_argument),
            persist=arguments.persist,
        ),
        keep=tuple(arguments.keep_entry),
        drop=tuple(arguments.drop_entry),
        rename=tuple((old, new) for old, new in arguments.rename_entry),
    )


def _roots(arguments: argparse.Namespace, moment: int) -> dict[str, TreeChanges]:
    given = (
        arguments.squashfs_add,
        arguments.squashfs_delete,
        arguments.squashfs_replace,
        arguments.squashfs_patch,
    )
    images = sorted({row[0].strip("/") for rows in given for row in rows})
    added, deleted, replaced, patched = (
        {image: [row[1:] for row in rows if row[0].strip("/") == image] for image in images}
        for rows in given
    )
    return {
        image: TreeChanges(
            delete=tuple(path for (path,) in deleted[image]),
            add=_wishes([wish for (wish,) in added[image]]),
            replace=_texts(replaced[image]),
            patches=tuple(Path(path) for (path,) in patched[image]),
            epoch=moment,
        )
        for image in images
    }


def _wishes(texts: list[str]) -> tuple[Wish, ...]:
    return tuple(Wish.parse(text) for text in texts)


def _texts(rows: list[list[str]]) -> tuple[Substitution, ...]:
    return tuple(Substitution(path=path, old=old, new=new) for path, old, new in rows)


def _check_afterwards(arguments: argparse.Namespace) -> None:
    """Raise what would only come to light when the new image is there."""
    if arguments.diff:
        if arguments.diff.absolute() == arguments.output.absolute():
            raise ConfigError("is the new image, and cannot be the page too", where="--diff")
        output.free(Target(path=arguments.diff, force=True))
    if arguments.test_mode:
        words = _trial(arguments)
        words.keep = None
        iso_test.trial(words).expected()
        program = f"qemu-system-{words.arch}"
        if not find(program):
            raise missing(program)


def _checked(arguments: argparse.Namespace) -> int:
    """Write the page and start the new image, if that is wanted."""
    if arguments.diff:
        old, new = (tree.load(probe(path)) for path in (arguments.iso, arguments.output))
        page = iso_texts.page(arguments.iso, arguments.output, iso_diff.parts(old, new))
        output.write(Target(path=arguments.diff, force=True), page.encode(errors="replace"))
    if not arguments.test_mode:
        return 0
    status = iso_test.run(_trial(arguments))
    if status:
        print(f"{arguments.output} was written, and did not start as it should", file=sys.stderr)
    return status


def _trial(arguments: argparse.Namespace) -> argparse.Namespace:
    """What `iso test` would be told."""
    return argparse.Namespace(
        iso=arguments.output,
        mode=arguments.test_mode,
        level=arguments.test_level,
        expect=arguments.test_expect,
        timeout=arguments.test_timeout,
        memory=arguments.test_memory,
        keep=arguments.test_keep,
        arch="x86_64",
        accelerator=None,
        json=False,
    )

"""Answers and packages for an ISO image: what they make of the changes that are wanted.

Answers go where the installer of their kind finds them, and the menus' kernels are told. Packages
go into the image's pool, whose lists are renewed; what they depend on has to be in the pool, or in
a root filesystem on the image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder import process, signing
from imagebuilder.answers import place as places
from imagebuilder.answers.load import load
from imagebuilder.answers.model import Kind, Place, Placement, Scripts
from imagebuilder.deb import control, pool
from imagebuilder.deb.control import Paragraph
from imagebuilder.deb.pool import Addition
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import tree
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.process import Runner
from imagebuilder.remaster import inner, output
from imagebuilder.remaster.initrd import Changes
from imagebuilder.remaster.iso_plan import IsoChanges

INITRD = (Kind.PRESEED, Kind.KICKSTART)  # found there whatever the medium is called
SUITES = "dists/"
INSTALLED = " installed"
NO_SCRIPTS = Scripts()
SIGNATURES = ("InRelease", "Release.gpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Answers, and packages for a pool: a directory, or `dists/SUITE` (default: the only one)."""

    answers: Path | None = None
    scripts: Scripts = NO_SCRIPTS
    debs: tuple[Path, ...] = ()
    pool: str = ""
    key: str = ""
    allow_missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OnImage:
    """The files of an image as a tree that has pools."""

    files: Tree

    def paths(self) -> Iterable[str]:
        """The paths of all files."""
        return [path for path, node in self.files.nodes.items() if node.is_file]

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return self.files.read(path)


@contextmanager
def applied(
    source: Path, changes: IsoChanges, extras: Extras, run: Runner = process.run
) -> Generator[tuple[IsoChanges, list[str]], None, None]:
    """The changes with the extras among them, and remarks; files of theirs exist meanwhile.

    Raise ConfigError for answers or packages that the image cannot take.
    """
    _check_alone(extras)
    if not extras.answers and not extras.debs:
        yield changes, []
        return
    if not source.is_file():
        raise ConfigError("no such file", where=str(source))
    files = tree.load(probe(source))
    with tempfile.TemporaryDirectory(prefix="imagebuilder-extras-") as name:
        remarks: list[str] = []
        if extras.answers:
            answers = load(extras.answers, scripts=extras.scripts, run=run)
            where = Place.INITRD if answers.kind in INITRD else Place.MEDIUM
            placement = places.placement(answers, where)
            _check_needed(files, placement, str(source))
            changes = _with_answers(changes, placement, Path(name, "answers"))
            remarks += answers.remarks
        if extras.debs:
            added = _addition(files, changes, extras)
            changes = _with_packages(changes, added, Path(name, "pool"))
            changes = _signed(files, changes, added, extras, Path(name, "signatures"))
            remarks += [str(missing) for missing in added.missing]
        yield changes, remarks


def _check_alone(extras: Extras) -> None:
    """Raise ConfigError for what says how, where nothing is said of what."""
    if extras.scripts != NO_SCRIPTS and not extras.answers:
        what = "scripts become sections of a kickstart file, and none is given"
        raise ConfigError(what, hint="--answers FILE names it")
    if (extras.pool or extras.key) and not extras.debs:
        what = "no package is to be added to the pool"
        raise ConfigError(what, hint="--deb FILE names one")


def _check_needed(files: Tree, placement: Placement, where: str) -> None:
    for name in placement.needed:
        if name not in files:
            raise ConfigError(f"cannot take such answers: {name} is not in it", where=where)


def _with_answers(changes: IsoChanges, placement: Placement, work: Path) -> IsoChanges:
    on_medium = placement.medium
    if placement.place is Place.INITRD:
        before = changes.initrd or Changes(epoch=changes.epoch)
        wishes = tuple(_wishes(placement.files, work / "initrd"))
        changes = replace(changes, initrd=replace(before, add=(*before.add, *wishes)))
    else:
        on_medium = (*placement.files, *on_medium)
    menus = changes.menus
    told = replace(menus.arguments, add=(*placement.arguments, *menus.arguments.add))
    return replace(
        changes,
        add=(*changes.add, *_wishes(on_medium, work / "medium")),
        menus=replace(menus, arguments=told),
    )


def _addition(files: Tree, changes: IsoChanges, extras: Extras) -> Addition:
    try:
        return _added(files, changes, extras)
    except ConfigError as error:
        if error.where in {str(path) for path in (files.iso.path, *extras.debs)}:
            raise
        where = f"{files.iso.path}: {error.where}"
        raise ConfigError(error.what, where=where, hint=error.hint) from error


def _added(files: Tree, changes: IsoChanges, extras: Extras) -> Addition:
    given = pool.given((output.read(path), str(path)) for path in extras.debs)
    on_image, installed = OnImage(files=files), list(_installed(files))
    if extras.pool and not extras.pool.strip("/").startswith(SUITES):
        added = pool.flat(on_image, extras.pool, given, installed)
    else:
        suite = extras.pool.strip("/").removeprefix(SUITES)
        added = pool.indexed(on_image, suite, given, installed, changes.epoch)
    if added.missing and not extras.allow_missing:
        raise ConfigError(
            "\n".join(("the pool lacks what packages depend on:", *map(str, added.missing))),
            where=str(files.iso.path),
            hint="add those too, or --allow-missing",
        )
    return added


def _with_packages(changes: IsoChanges, added: Addition, work: Path) -> IsoChanges:
    wishes = _wishes(added.files.items(), work)
    return replace(changes, add=(*changes.add, *wishes), remove=(*changes.remove, *added.removed))


def _signed(
    files: Tree, changes: IsoChanges, added: Addition, extras: Extras, work: Path
) -> IsoChanges:
    """With new signatures of the suites whose lists have changed."""
    made: dict[str, bytes] = {}
    for release in added.unsigned:
        home, content = release.rpartition("/")[0], added.files[release]
        there = [f"{home}/{name}" for name in SIGNATURES if f"{home}/{name}" in files]
        if extras.key:
            made[f"{home}/InRelease"] = signing.clear(content, extras.key, changes.epoch)
            made[f"{home}/Release.gpg"] = signing.detached(content, extras.key, changes.epoch)
        elif left := [name for name in there if name not in changes.remove]:
            hint = f"give a key (--pool-key), or --remove {left[0]}"
            where = f"{files.iso.path}: {left[0]}"
            raise ConfigError("is a signature, which will not be one", where=where, hint=hint)
    return replace(changes, add=(*changes.add, *_wishes(made.items(), work)))


def _installed(files: Tree) -> Iterator[Paragraph]:
    """The packages in the root filesystems that are on the image."""
    for path in sorted(files.nodes):
        if path.endswith(inner.SUFFIX):
            image = inner.image(files, path)
            for name, inode in image.files():
                if name == inner.STATUS:
                    text = b"".join(image.pieces(inode)).decode(errors="surrogateescape")
                    rows = control.paragraphs(text, f"{path}: {name}")
                    yield from (row for row in rows if row.value("Status").endswith(INSTALLED))


def _wishes(contents: Iterable[tuple[str, bytes]], work: Path) -> Iterator[Wish]:
    """Files of ours with these contents, and where they are to go."""
    for path, content in contents:
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        yield Wish(source=target, path=path)

"""Files of an ISO image changed as texts: substitutions and unified diffs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from imagebuilder import patching
from imagebuilder.errors import ConfigError
from imagebuilder.iso.tree import Tree
from imagebuilder.remaster import output
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.problems import Problems
from imagebuilder.remaster.squashfs import Change


def changed(
    files: Tree, substitutions: tuple[Substitution, ...], patches: tuple[Path, ...], all_: Problems
) -> dict[str, bytes]:
    """The new contents by path; whatever does not fit is noted."""
    made: dict[str, bytes] = {}
    for path, change in _changes(files, substitutions, patches, all_):
        with all_.noted():
            name = files.file(path).path
            made[name] = change(made[name] if name in made else files.read(name))
    return made


def _changes(
    files: Tree, substitutions: tuple[Substitution, ...], patches: tuple[Path, ...], all_: Problems
) -> Iterator[tuple[str, Change]]:
    image = files.iso.path
    for row in substitutions:
        where = f"{image}: {row.path}"
        yield row.path, partial(patching.substitute, old=row.old, new=row.new, where=where)
    for source in patches:
        with all_.noted():
            text = output.read(source).decode(errors="surrogateescape")
            for patch in patching.parse(text, str(source)):
                if not patch.old or not patch.new:
                    what = "patches of images change files; --add and --remove are for others"
                    raise ConfigError(what, where=str(source))
                where = f"{source}: {patch.new}"
                yield patch.old, partial(patching.apply, patch=patch, where=where)

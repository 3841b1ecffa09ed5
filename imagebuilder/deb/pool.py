"""Packages added to a pool: a flat directory, or one with indices and signatures.

The indices are those of Debian's repositories (wiki.debian.org/DebianRepository/Format). A pool is
anything that has paths and can be read; what changes is a value, which the caller writes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imagebuilder.deb import depends, index, package
from imagebuilder.deb.control import Paragraph
from imagebuilder.deb.depends import Known, Missing
from imagebuilder.deb.package import Package
from imagebuilder.errors import ConfigError


class Tree(Protocol):
    """Where a pool is: a directory, or an ISO image."""

    def paths(self) -> Iterable[str]:
        """The paths of all files."""

    def read(self, path: str) -> bytes:
        """The content of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory of the host as a tree."""

    top: Path

    def paths(self) -> Iterable[str]:
        """The paths of all files, sorted."""
        files = (path for path in self.top.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.top).as_posix() for path in files)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return (self.top / path).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A package to be added: its bytes, and what they say."""

    content: bytes
    package: Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What becomes of a pool: new contents by path, paths that go, and what is missing then."""

    files: Mapping[str, bytes]
    removed: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    unsigned: tuple[str, ...] = field(default=())  # Release files that need new signatures


def given(contents: Iterable[tuple[bytes, str]]) -> list[Given]:
    """Packages from their bytes and names; raise ConfigError for one that is none."""
    return [Given(content=data, package=package.load(data, where)) for data, where in contents]


def flat(
    tree: Tree, directory: str, added: Sequence[Given], installed: Iterable[Paragraph]
) -> Addition:
    """Add packages to a directory, where each replaces others of its name and architecture.

    Raise ConfigError if there is no package in the directory.
    """
    top = directory.strip("/")
    there = [p for p in tree.paths() if p.endswith(".deb") and p.rpartition("/")[0] == top]
    if not there:
        raise ConfigError("has no package in it", where=directory)
    fields = {path: package.load(tree.read(path), path).fields for path in there}
    new = {_joined(top, each.package.file_name): each for each in added}
    names = {_identity(each.package.fields) for each in added}
    gone = [p for p, own in fields.items() if _identity(own) in names and p not in new]
    left = [own for path, own in fields.items() if path not in gone]
    return Addition(
        files={path: each.content for path, each in new.items()},
        removed=tuple(gone),
        missing=_missing(added, [*left, *installed]),
    )


def indexed(
    tree: Tree, suite: str, added: Sequence[Given], installed: Iterable[Paragraph], epoch: int
) -> Addition:
    """Add packages to the first component of a suite, and renew its indices.

    Raise ConfigError if there is no such suite, or no index for a package's architecture.
    """
    paths = set(tree.paths())
    home = _suite(paths, suite)
    indices = index.load(tree, home, paths)
    files: dict[str, bytes] = {}
    for each in added:
        path = index.pool_path(indices[0].component, each.package)
        files[path] = each.content
        entry = index.entry(each.package.fields, path, each.content)
        fitting = [one for one in indices if one.takes(each.package.fields.value("Architecture"))]
        if not fitting:
            what = f"{each.package.file_name} is for no architecture of {home}"
            hint = f"there are: {', '.join(one.architecture for one in indices)}"
            raise ConfigError(what, where=each.package.where, hint=hint)
        first = [one for one in fitting if one.component == indices[0].component]
        indices = [one.with_entry(entry) if one in first else one for one in indices]
    files |= index.renewed(tree, home, paths, indices, epoch)
    known = [entry for one in indices for entry in one.entries]
    return Addition(
        files=files,
        missing=_missing(added, [*known, *installed]),
        unsigned=(f"{home}/Release",),
    )


def _missing(added: Sequence[Given], known: Sequence[Paragraph]) -> tuple[Missing, ...]:
    new = [each.package.fields for each in added]
    return tuple(depends.missing(new, Known([*known, *new])))


def _identity(fields: Paragraph) -> tuple[str, str]:
    return fields.value("Package"), fields.value("Architecture")


def _suite(paths: Iterable[str], wanted: str) -> str:
    """The directory of a suite; without a name the only one that is no symlink's double."""
    found = sorted({
        p.removesuffix("/Release") for p in paths if fnmatch.fnmatch(p, "dists/*/Release")
    })
    names = [path.removeprefix("dists/") for path in found]
    if wanted in names:
        return f"dists/{wanted}"
    if wanted or len(found) != 1:
        hint = f"say which of dists/: {', '.join(names)}"
        if not names:
            hint = "say in which directory the packages are (--pool PATH)"
        what = f"there is no suite {wanted!r}" if wanted else "there are several suites"
        raise ConfigError(what if names else "there is no suite", where="dists", hint=hint)
    return found[0]


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name

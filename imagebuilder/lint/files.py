"""Mistakes in the files that an element tells the builder with, and in what they are called."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagebuilder import schema
from imagebuilder.element import merge, packages, pkgmap
from imagebuilder.element.model import ALL_PHASES, Element
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.lint.model import Finding, Script, numbered
from imagebuilder.schema import Document

SCHEMAS = {
    "package-installs.yaml": "element/schemas/package-installs.json",
    "package-installs.json": "element/schemas/package-installs.json",
    "pkg-map": "element/schemas/pkg-map.json",
    "svc-map": "element/schemas/svc-map.json",
}
NAMES = (
    *(phase.directory for phase in ALL_PHASES),
    *("environment.d", "fingerprint.d", "bin", "static", "init-scripts"),
    *("element-deps", "element-provides", "element.yaml", *SCHEMAS),
)
OTHER_NAMES = ("init.d", "ramdisk-install.d")  # other elements read them
ALIKE = 0.8  # how alike names are that may be meant for each other
TYPES = ("git", "tar", "file", "package")
# What brings the files of an element into effect: a file or directory, and an element for it.
CONSUMERS = {
    "bin": "install-bin",
    "static": "install-static",
    "package-installs.yaml": "package-installs",
    "package-installs.json": "package-installs",
    "svc-map": "svc-map",
    "init-scripts": "dib-init-system",
    "modprobe.d": "modprobe",
}


def check_documents(element: Element) -> Iterator[Finding]:
    """Documents are valid; what is allowed in package-installs and does nothing is a warning."""
    valid = True
    for name, described in SCHEMAS.items():
        if (element.path / name).is_file():
            try:
                schema.check(schema.read(element.path / name), described)
            except ConfigError as error:
                valid = False
                yield Finding(where=error.where, rule="document", what=error.what, hint=error.hint)
    if valid:
        for warning in packages.warnings([element]):
            where, _, text = warning.partition(": ")
            what, _, hint = text.partition("; ")
            yield Finding(where=where, rule="package", what=what, hint=hint)


def check_names(element: Element, found: Sequence[Script]) -> Iterator[Finding]:
    """What is there is called what the builder looks for, and hooks are such as run.

    A file that a script names is taken for data of that script.
    """
    for path in sorted(element.path.iterdir()):
        close = difflib.get_close_matches(path.name, NAMES, n=1, cutoff=ALIKE)
        if close and path.name not in {*NAMES, *OTHER_NAMES}:
            yield Finding(
                where=str(path),
                rule="unknown-name",
                what="nothing reads this",
                hint=f"did you mean {close[0]!r}?",
            )
    for path, reason in merge.merge([element]).ignored:
        others = (script.lines for script in found if script.path.name != path.name)
        is_data = any(path.name in line for lines in others for line in lines)
        if not is_data and not path.name.startswith("package-installs-"):  # a list of packages
            yield Finding(
                where=str(path),
                rule="ignored-hook",
                what=f"will not run: {reason}",
                hint=_remedy(reason, path.name),
            )


def check_consumers(element: Element, reached: frozenset[str]) -> Iterator[Finding]:
    """What uses the element's files comes with it; `reached` are all that come with it."""
    for name, consumer in CONSUMERS.items():
        if (element.path / name).exists() and consumer not in {*reached, element.name}:
            yield Finding(
                where=str(element.path / name),
                rule="consumer",
                what=f"the element {consumer!r}, which uses this, does not come with this one",
                hint=f"add {consumer!r} to element-deps",
            )
    sources = sorted(element.path.glob("source-repository-*"))
    if sources and "source-repositories" not in {*reached, element.name}:
        yield Finding(
            where=str(sources[0]),
            rule="consumer",
            what="the element 'source-repositories', which uses this, does not come with this one",
            hint="add 'source-repositories' to element-deps",
        )


def check_sources(element: Element) -> Iterator[Finding]:
    """Lines of source-repository files have the fields that they need."""
    for path in sorted(filter(Path.is_file, element.path.glob("source-repository-*"))):
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            if len(fields) not in (4, 5):
                what, hint = f"{len(fields)} fields", "name, type, destination, location, and a ref"
            elif fields[1] not in TYPES and "$" not in fields[1]:
                what, hint = f"{fields[1]!r} is no type of source", f"one of {', '.join(TYPES)}"
            else:
                continue
            yield Finding(where=numbered(path, number), rule="source", what=what, hint=hint)


def check_package_map(element: Element, found: Sequence[Script]) -> Iterator[Finding]:
    """A pkg-map has names that the element asks for, and distributions that there are."""
    path = element.path / "pkg-map"
    document = _valid(path.name, element) if path.is_file() else None
    if document is None or not isinstance(document.value, dict):
        return
    entries = list(_entries(document.value))
    if not entries:
        yield Finding(where=str(path), rule="pkg-map", what="maps nothing", hint="leave it out")
    texts = "\n".join("\n".join(s.lines) for s in found if s.path != path)
    for section, name in entries:
        if not re.search(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-])", texts):
            yield Finding(
                where=document.key_place(section, name),
                rule="pkg-map",
                what=f"maps {name!r}, which nothing in the element asks for",
                hint="ask for it in package-installs.yaml, or leave the entry out",
            )
    known = {*pkgmap.FAMILIES.values()}
    for family in document.value.get("family", {}):
        if family not in known:
            yield Finding(
                where=document.key_place(("family",), family),
                rule="pkg-map",
                what=f"{family!r} is no family of distributions",
                hint=nearest(family, known) or f"they are {', '.join(sorted(known))}",
            )


def _valid(name: str, element: Element) -> Document | None:
    try:
        document = schema.read(element.path / name)
        schema.check(document, SCHEMAS[name])
    except ConfigError:
        return None
    return document


def _entries(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names that a pkg-map maps, each with the path of the mapping that it is in."""
    yield from ((("default",), name) for name in value.get("default", {}))
    for section in ("family", "distro"):
        for key, names in value.get(section, {}).items():
            yield from (((section, key), name) for name in names)
    for key, releases in value.get("release", {}).items():
        for release, names in releases.items():
            yield from ((("release", key, release), name) for name in names)


def _remedy(reason: str, name: str) -> str:
    remedies: dict[str, Callable[[], str]] = {
        "a dot in its name": lambda: f"call it {name.split('.')[0]!r}",
        "not executable": lambda: f"chmod +x {name}",
        "a symlink that leads nowhere": lambda: "have it lead to a hook, or remove it",
        "not a regular file": lambda: "put directories of data beside those of phases",
    }
    return remedies.get(reason, lambda: "use letters, digits, '-' and '_'")()

"""Which packages an image holds, from dpkg's own record of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import paths

STATUS = "/var/lib/dpkg/status"
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    version: str
    architecture: str = ""
    size: int = 0  # bytes when installed, as the package itself estimates


def load(tree: Path) -> tuple[Package, ...]:
    """The installed packages of the root tree; none if it has no dpkg."""
    try:
        content = paths.read_in(tree, STATUS)
    except OSError:
        return ()
    return parse(content.decode(errors="replace"))


def parse(text: str) -> tuple[Package, ...]:
    """The installed packages of a dpkg status file (deb-control(5)), sorted by name.

    What is not a stanza of an installed package is passed over.
    """
    stanzas = map(_fields, re.split(r"\n[ \t]*\n", text))
    found = {_package(fields) for fields in stanzas if _installed(fields)}
    return tuple(sorted(found, key=lambda package: (package.name, package.architecture)))


def _fields(stanza: str) -> dict[str, str]:
    """The first line of every field, by its name in lower case."""
    pairs = (line.partition(":") for line in stanza.splitlines() if line[:1].strip())
    return {name.lower(): value.strip() for name, colon, value in pairs if colon}


def _installed(fields: Mapping[str, str]) -> bool:
    state = fields.get("status", "").split()
    return state[-1:] == ["installed"] and bool(fields.get("package"))


def _package(fields: Mapping[str, str]) -> Package:
    size = fields.get("installed-size", "")
    return Package(
        name=fields["package"],
        version=fields.get("version", ""),
        architecture=fields.get("architecture", ""),
        size=int(size) * KIB if re.fullmatch(r"[0-9]{1,15}", size) else 0,
    )

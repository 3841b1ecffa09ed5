"""Whether the packages of a pool have what they depend on (Debian Policy 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imagebuilder.deb import version
from imagebuilder.deb.control import Paragraph
from imagebuilder.errors import ConfigError

FIELDS = ("Pre-Depends", "Depends")
RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(:[a-z0-9-]+)?"
    r"(\s*\(\s*(?P<relation><<|<=|<|=|>=|>|>>)\s*(?P<version>[^\s)]+)\s*\))?"
    r"(\s*\[(?P<architectures>[^\]]*)\])?(\s*<[^>]*>)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One package that would do; without a relation any version does."""

    name: str
    relation: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a package needs and nothing brings, as its control file has it."""

    package: str
    needs: str

    def __str__(self) -> str:
        return f"{self.package} needs {self.needs}"


class Known:
    """Packages that are there, by name and by what they provide."""

    def __init__(self, packages: Iterable[Paragraph]) -> None:
        self.versions: dict[str, list[str]] = {}
        self.provided: dict[str, list[str]] = {}
        for package in packages:
            own = package.value("Version")
            self.versions.setdefault(package.value("Package"), []).append(own)
            for name, of in provides(package):
                self.provided.setdefault(name, []).append(of)

    def has(self, wanted: Alternative) -> bool:
        """Whether one of them would do."""
        versions = [*self.versions.get(wanted.name, ()), *self.provided.get(wanted.name, ())]
        if not wanted.relation:
            return bool(versions)
        return any(
            own and version.satisfies(own, wanted.relation, wanted.version) for own in versions
        )


def missing(packages: Sequence[Paragraph], known: Known) -> list[Missing]:
    """What these packages need and `known` do not have."""
    return [
        Missing(package=package.value("Package"), needs=text)
        for package in packages
        for field in FIELDS
        for text, alternatives in groups(package.value(field), package.value("Package"))
        if not any(known.has(each) for each in alternatives)
    ]


def groups(text: str, where: str) -> Iterator[tuple[str, list[Alternative]]]:
    """Each dependency and its alternatives; raise ConfigError for one that is none."""
    for part in text.split(","):
        plain = " ".join(part.split())
        if plain:
            yield plain, [_alternative(each.strip(), where) for each in plain.split("|")]


def provides(package: Paragraph) -> Iterator[tuple[str, str]]:
    """What a package stands in for, and the version of that, if it says so."""
    for _, (first, *_) in groups(package.value("Provides"), package.value("Package")):
        yield first.name, first.version


def _alternative(text: str, where: str) -> Alternative:
    found = RELATION.fullmatch(text)
    if not found:
        raise ConfigError(f"not a dependency: {text!r}", where=where)
    return Alternative(
        name=found["name"], relation=found["relation"] or "", version=found["version"] or ""
    )

"""Checks elements: each by itself, and with all that they can be combined with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.element import load, merge
from imagebuilder.element.model import Element
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.lint import files, scripts, variables
from imagebuilder.lint.model import Finding, Script
from imagebuilder.process import Runner

DISABLE = re.compile(r"#\s*imagebuilder-lint:\s*disable=([\w ,-]+)")
READMES = ("README.rst", "README.md", "README")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """All elements that can be loaded, and who provides what."""

    elements: Mapping[str, Element]
    exported: frozenset[str]  # the variables that their `environment.d` export

    @property
    def providers(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for name, element in self.elements.items():
            for provided in element.provides:
                found.setdefault(provided, []).append(name)
        return {name: tuple(names) for name, names in found.items()}

    def reached(self, name: str) -> frozenset[str]:
        """The element and all that comes with it, and what those provide."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            reached = waiting.pop()
            if reached not in seen:
                seen.add(reached)
                element = self.elements.get(reached)
                waiting += [*element.depends, *element.provides] if element else []
        return frozenset(seen)

    def may_meet(self, one: str, other: str) -> bool:
        """Whether a build can have both: they provide different things, for one distribution."""
        both = self.reached(one) | self.reached(other)
        meant = [e.supports for e in map(self.elements.get, sorted(both)) if e and e.supports]
        if meant and not set.intersection(*map(set, meant)):
            return False
        provided = [
            p for name in both if name in self.elements for p in self.elements[name].provides
        ]
        return len(provided) == len(set(provided))


def lint(paths: Sequence[Path], search: Sequence[Path], run: Runner) -> tuple[Finding, ...]:
    """What is wrong with the elements at `paths`, with those in `search` beside them."""
    index = {**load.index(search), **{path.resolve().name: path for path in paths}}
    findings: list[Finding] = []
    elements: dict[str, Element] = {}
    wanted = {path.resolve() for path in paths}
    for name, path in sorted(index.items()):
        try:
            elements[name] = load.load(path)
            merge.merge([elements[name]])
        except ConfigError as error:
            elements.pop(name, None)
            if path.resolve() in wanted:
                findings.append(_as_finding(error))
    exported = (variables.exported(element) for element in elements.values())
    neighbours = Neighbours(elements=elements, exported=frozenset().union(*exported))
    chosen = [element for element in elements.values() if element.path.resolve() in wanted]
    found = {element.name: scripts.scripts(element) for element in chosen}
    for element in chosen:
        findings += _of(element, found[element.name], neighbours)
    findings += _duplicates(chosen, neighbours)
    findings += scripts.check_syntax([s for e in chosen for s in found[e.name]], run)
    return tuple(sorted(_enabled(findings, found)))


def _of(element: Element, own: tuple[Script, ...], neighbours: Neighbours) -> Iterator[Finding]:
    reached = neighbours.reached(element.name)
    others = [neighbours.elements[name] for name in sorted(reached) if name in neighbours.elements]
    declared = {v.name for other in others for v in other.variables}
    if not any((element.path / name).is_file() for name in READMES):
        yield Finding(
            where=str(element.path),
            rule="readme",
            what="has no README.rst",
            hint="write what it is for",
        )
    yield from files.check_documents(element)
    yield from files.check_names(element, own)
    yield from files.check_consumers(element, reached)
    yield from files.check_sources(element)
    yield from files.check_package_map(element, own)
    yield from scripts.check_hooks(element, own)
    yield from scripts.check_environment(element, own)
    yield from variables.check(element, own, neighbours.exported | declared)
    yield from _dependencies(element, neighbours)


def _dependencies(element: Element, neighbours: Neighbours) -> Iterator[Finding]:
    known = {*neighbours.elements, *neighbours.providers}
    lines = [line.strip() for line in _lines(element.path / "element-deps")]
    for name in element.depends:
        if name not in known:
            yield Finding(
                where=f"{element.path / 'element-deps'}:{lines.index(name) + 1}",
                rule="dependency",
                what=f"Element {name!r} not found",
                hint=nearest(name, known) or "add the directory that it is in to ELEMENTS_PATH",
            )


def _duplicates(chosen: Iterable[Element], neighbours: Neighbours) -> Iterator[Finding]:
    owners: dict[str, list[Element]] = {}
    for element in neighbours.elements.values():
        for name in merge.merge([element]).files:
            if name.count("/") == 1:
                owners.setdefault(name, []).append(element)
    names = {element.name for element in chosen}
    for file, elements in sorted(owners.items()):
        for one, other in _pairs(elements, names):
            replaces = (file in one.replaces) != (file in other.replaces)
            if not replaces and neighbours.may_meet(one.name, other.name):
                yield Finding(
                    where=str(one.path / file),
                    rule="duplicate-hook",
                    what=f"the element {other.name!r} has a file of that name too, and a build with"
                    " both is refused",
                    hint="put the element's name into the file's, or have it replace the other"
                    f" ('replaces: [{file}]' in element.yaml)",
                )


def _pairs(elements: Sequence[Element], chosen: set[str]) -> Iterator[tuple[Element, Element]]:
    """Every pair with one that is looked at, which comes first."""
    for position, one in enumerate(elements):
        for other in elements[position + 1 :]:
            if one.name in chosen:
                yield one, other
            elif other.name in chosen:
                yield other, one


def _enabled(
    findings: Iterable[Finding], found: Mapping[str, tuple[Script, ...]]
) -> Iterator[Finding]:
    """Those that no comment in the file itself says to leave out."""
    disabled = {
        str(script.path): {
            rule for line in script.lines for listed in DISABLE.findall(line)
            for rule in re.split(r"[ ,]+", listed)
        }
        for every in found.values() for script in every
    }  # fmt: skip
    for finding in findings:
        path = re.sub(r"(:\d+)+\Z", "", finding.where)
        if finding.rule not in disabled.get(path, ()):
            yield finding


def _as_finding(error: ConfigError) -> Finding:
    return Finding(where=error.where, rule="document", what=error.what, hint=error.hint)


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").split("\n") if path.is_file() else []

"""A report as a frozen value, and as JSON.

`report.json` has these keys, always all of them and in this order; sizes are in bytes, times in
seconds, an unknown number is null:

    format       1; changes when a key's meaning does
    name         the image's name, without directory and suffix
    version      of the imagebuilder that made it
    architecture in the distribution's words: amd64, arm64, ...
    started      when the build began: 2026-01-31T12:00:00Z
    seconds      from its beginning to its end
    status       the exit status; 0: everything was built
    error        what ended the build, or an empty string
    hooks        how many hooks were planned
    rows         every step in the order they began, those of a phase after the phase itself:
                 phase, hook (empty for a phase or stage as a whole), element, start (from the
                 beginning), seconds, status (null: had not ended), lines (of output),
                 downloaded, cached (not taken, for what it makes was there), cpu
    elements     those that took part, each after what it depends on: name, depends (names of
                 other elements), hooks (how many it brought), asked (by name)
    packages     what is installed: name, version, architecture, size
    tree         what takes up the room: name, size, files, children (the same again), or null
    outputs      the finished files: path, format, size, digests (by algorithm)
    layout       where everything lies on the disk, as lines of text
    log          the last lines of output, if the build failed
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from imagebuilder.errors import ConfigError
from imagebuilder.report.packages import Package
from imagebuilder.report.sizes import Branch
from imagebuilder.report.timeline import Row

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An element that took part, and the elements it depends on."""

    name: str
    depends: tuple[str, ...] = ()
    hooks: int = 0
    asked: bool = False  # by name, on the command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A finished file."""

    path: str
    format: str
    size: int
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was built, from what, and how long it took."""

    name: str
    version: str
    architecture: str
    started: datetime
    seconds: float
    status: int
    error: str = ""
    hooks: int = 0
    rows: tuple[Row, ...] = ()
    elements: tuple[Part, ...] = ()
    packages: tuple[Package, ...] = ()
    tree: Branch | None = None
    outputs: tuple[Output, ...] = ()
    layout: tuple[str, ...] = ()
    log: tuple[str, ...] = ()

    @property
    def downloaded(self) -> int:
        return sum(row.downloaded for row in self.rows)


def as_json(report: Report) -> str:
    """The document that the module's docstring describes."""
    document = {"format": FORMAT, **dataclasses.asdict(_plain(report))}
    document["started"] = instant(report.started)
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str, *, where: str = "report.json") -> Report:
    """The report that `as_json` gave `text`; raise ConfigError for anything else."""
    try:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            raise ConfigError(
                "a report of another format", where=where, hint="read it with its own version"
            )
        return _report(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"not a report: {error}", where=where) from error


def instant(moment: datetime) -> str:
    """UTC, to the second: 2026-01-31T12:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(report: Report) -> Report:
    """With mappings that `asdict` can copy, in a fixed order."""
    outputs = tuple(
        dataclasses.replace(output, digests=dict(sorted(output.digests.items())))
        for output in report.outputs
    )
    return dataclasses.replace(report, outputs=outputs)


def _report(document: Mapping[str, Any]) -> Report:
    tree = document["tree"]
    read: dict[str, Any] = {
        "started": datetime.fromisoformat(document["started"]),
        "rows": tuple(Row(**row) for row in document["rows"]),
        "elements": tuple(
            Part(**{**part, "depends": tuple(part["depends"])}) for part in document["elements"]
        ),
        "packages": tuple(Package(**package) for package in document["packages"]),
        "tree": None if tree is None else _branch(tree),
        "outputs": tuple(Output(**output) for output in document["outputs"]),
        "layout": tuple(document["layout"]),
        "log": tuple(document["log"]),
    }
    return Report(**{**document, **read})


def _branch(document: Mapping[str, Any]) -> Branch:
    children = tuple(_branch(child) for child in document["children"])
    return Branch(**{**document, "children": children})

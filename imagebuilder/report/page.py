"""The report as one page that needs nothing but itself: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

from imagebuilder.report.gantt import gantt
from imagebuilder.report.graph import graph
from imagebuilder.report.markup import Markup, join, tag
from imagebuilder.report.model import Report, instant
from imagebuilder.report.tables import Cell, Kind, Table, note, section, table
from imagebuilder.report.treemap import treemap
from imagebuilder.report.words import DECIMAL, amount, count, duration

SECTIONS = (
    ("outputs", "Outputs"),
    ("time", "Time"),
    ("room", "Room"),
    ("elements", "Elements"),
    ("packages", "Packages"),
)


def as_html(report: Report) -> str:
    """The whole page."""
    title = f"{report.name}: report of the build"
    return whole(title, _header(report), tag("main", *_sections(report)))


def whole(title: str, header: Markup, main: Markup) -> str:
    """A page with the style and the script that all of ours have."""
    style, script = _file("page.css"), _file("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    body = tag("body", header, main, tag("script", script))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _file(name: str) -> Markup:
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _policy(script: str) -> str:
    """Nothing may be loaded, and no script may run but the page's own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _header(report: Report) -> Markup:
    built = tag(
        "span", _verdict(report), class_=f"verdict {'failed' if report.status else 'built'}"
    )
    when = tag("time", instant(report.started).replace("T", " ").replace("Z", " UTC"),
               datetime=instant(report.started))  # fmt: skip
    told = f" {report.architecture}, imagebuilder {report.version}, "
    figures = [tag("div", tag("dt", name), tag("dd", value)) for name, value in _figures(report)]
    links = [tag("a", title, href=f"#{name}") for name, title in SECTIONS]
    return tag(
        "header",
        tag("h1", report.name),
        tag("p", built, told, when, class_="told"),
        tag("dl", *figures, class_="figures"),
        tag("nav", *links, aria_label="Sections"),
    )


def _verdict(report: Report) -> str:
    return f"✕ failed with status {report.status}" if report.status else "✓ built"


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    yield "Time", duration(report.seconds)
    for output in report.outputs[:1]:
        yield f"{output.format} file", amount(output.size)
    if report.tree:
        yield "In the tree", amount(report.tree.size)
    if report.packages:
        yield "Packages", f"{len(report.packages):,}"
    if report.downloaded:
        yield "Downloaded", amount(report.downloaded, DECIMAL)
    yield "Elements", f"{len(report.elements):,}"
    yield "Hooks", f"{report.hooks:,}"


def _sections(report: Report) -> Iterator[Markup]:
    if report.status:
        yield _failure(report)
    yield _outputs(report)
    yield gantt(report)
    yield treemap(report)
    yield graph(report)
    yield _packages(report)


def _failure(report: Report) -> Markup:
    error = tag("pre", report.error or "The build gave no reason.", class_="error")
    log = tag("pre", "\n".join(report.log), class_="log", tabindex=0, role="region",
              aria_label="Last lines of the log")  # fmt: skip
    lines = join((tag("h3", "Last lines of the log"), log)) if report.log else ""
    return section("failure", "Why the build failed", error, lines)


def _outputs(report: Report) -> Markup:
    columns = (
        ("File", Kind.TEXT),
        ("Format", Kind.TEXT),
        ("Size", Kind.NUMBER),
        ("Digests", Kind.LONG),
    )
    rows = [
        (
            output.path,
            output.format,
            Cell(amount(output.size), output.size),
            join(_digest(*pair) for pair in sorted(output.digests.items())),
        )
        for output in report.outputs
    ]
    files = table(Table(name="Finished files", columns=columns, rows=rows))
    layout = tag("pre", "\n".join(report.layout), class_="layout", tabindex=0, role="region",
                 aria_label="Layout of the disk")  # fmt: skip
    disk = join((tag("h3", "On the disk"), layout)) if report.layout else ""
    return section("outputs", "Outputs", files if rows else note("No file was finished."), disk)


def _digest(name: str, digest: str) -> Markup:
    return tag("div", tag("small", name), " ", tag("code", digest))


def _packages(report: Report) -> Markup:
    if not report.packages:
        return section("packages", "Packages", note("The image has no list of dpkg's packages."))
    columns = (
        ("Package", Kind.TEXT),
        ("Version", Kind.LONG),
        ("Arch", Kind.TEXT),
        ("Installed", Kind.NUMBER),
    )
    rows = [
        (
            package.name,
            package.version,
            package.architecture,
            Cell(amount(package.size), package.size),
        )
        for package in report.packages
    ]
    total = amount(sum(package.size for package in report.packages))
    told = note(f"{count(len(rows), 'package')}, {total} by their own estimates.")
    return section("packages", "Packages", told, table(
        Table(name="Installed packages", columns=columns, rows=rows, filtered=True)
    ))  # fmt: skip

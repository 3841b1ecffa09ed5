"""Two images compared, as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imagebuilder.report.markup import Markup, join, tag
from imagebuilder.report.page import whole
from imagebuilder.report.tables import Kind, Table, note, section, table
from imagebuilder.report.words import count

MANY = 20  # rows that somebody may want to filter
LONGEST = 2000  # rows that a table may have before a page gets slow
COLUMNS = (("What", Kind.TEXT), ("Which", Kind.LONG), ("Before", Kind.LONG), ("After", Kind.LONG))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place with differences: rows of what, which, before and after, or lines of a diff."""

    title: str
    rows: Sequence[tuple[str, str, str, str]] = ()
    lines: Sequence[str] = ()


def as_html(old: str, new: str, places: Sequence[Place]) -> str:
    """The whole page."""
    total = sum(len(place.rows) or 1 for place in places)
    header = tag(
        "header",
        tag("h1", f"{old} and {new}"),
        tag("p", count(total, "difference") if places else "no difference", class_="told"),
        tag("nav", *_links(places), aria_label="Sections"),
    )
    sections = [_section(number, place) for number, place in enumerate(places)]
    main = tag("main", *sections) if sections else tag("main", note("The images are the same."))
    return whole(f"{old} and {new}: differences", header, main)


def _links(places: Sequence[Place]) -> Iterator[Markup]:
    for number, place in enumerate(places):
        yield tag("a", place.title, href=f"#place-{number}")


def _section(number: int, place: Place) -> Markup:
    parts: list[Markup] = []
    if place.rows:
        rows = place.rows[:LONGEST]
        if len(place.rows) > LONGEST:
            parts.append(note(f"The first {LONGEST} of {len(place.rows)}."))
        parts.append(
            table(Table(name=place.title, columns=COLUMNS, rows=rows, filtered=len(rows) > MANY))
        )
    if place.lines:
        parts.append(tag("pre", "\n".join(place.lines), class_="log", tabindex=0, role="region",
                         aria_label=f"Lines of {place.title}"))  # fmt: skip
    return section(f"place-{number}", place.title, join(parts))

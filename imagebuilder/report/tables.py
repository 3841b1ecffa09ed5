"""Tables of the page, and the frames that charts and tables stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from imagebuilder.report.markup import Markup, join, tag


class Kind(Enum):
    """What a column holds, as a class of the style sheet."""

    TEXT = "text"
    NUMBER = "number"
    LONG = "long"  # words that may break anywhere: versions, digests


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what it is sorted by where that is something else."""

    shown: str
    sorted_by: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as data: its columns with their kinds, and a row of cells for each line."""

    name: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[str | Cell]]
    filtered: bool = False  # offer a field to type in


def table(wanted: Table) -> Markup:
    """The table, which a script makes sortable, in a frame that scrolls if it is too wide.

    Columns without any content are left out.
    """
    used = [n for n, _ in enumerate(wanted.columns) if any(_shown(row[n]) for row in wanted.rows)]
    columns = [wanted.columns[n] for n in used]
    head = [
        tag("th", title, class_=kind.value, scope="col", data_kind=kind.value)
        for title, kind in columns
    ]
    body = [tag("tr", *(_cell(row[n], wanted.columns[n][1]) for n in used)) for row in wanted.rows]
    inner = tag(
        "table",
        tag("caption", wanted.name),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_="sortable filtered" if wanted.filtered else "sortable",
    )
    return tag("div", inner, class_="scroll", role="region", tabindex=0, aria_label=wanted.name)


def _shown(cell: str | Cell) -> str:
    return cell.shown if isinstance(cell, Cell) else cell


def behind(title: str, *content: str) -> Markup:
    """What is folded away until it is asked for."""
    return tag("details", tag("summary", title), *content)


def section(name: str, title: str, *content: str) -> Markup:
    """A part of the page, with a heading that the navigation leads to."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def _cell(cell: str | Cell, kind: Kind) -> Markup:
    if isinstance(cell, Cell):
        return tag("td", cell.shown, class_=kind.value, data_value=cell.sorted_by)
    return tag("td", cell, class_=kind.value)


def note(*content: str) -> Markup:
    """A remark below a heading."""
    return tag("p", join(content), class_="note")

"""The graph of elements: what was asked for on the left, what that needs to the right of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from imagebuilder.report.layers import Drawing, Key, draw
from imagebuilder.report.markup import Markup, join, tag
from imagebuilder.report.model import Part, Report
from imagebuilder.report.tables import Cell, Kind, Table, behind, note, section, table
from imagebuilder.report.words import count, duration

TITLE = "Elements"
HALF = 18  # of a node's height, in pixels as all of these
LETTER, SMALL_LETTER, PADDING = 7.8, 5.8, 26  # widths: of letters on average, of a node besides
GAP, MARGIN = 64, 12
LONGEST = 34  # letters of a name that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canvas:
    drawing: Drawing
    left: tuple[float, ...]  # of each layer
    width: tuple[float, ...]

    @property
    def size(self) -> tuple[int, int]:
        """The whole width and height."""
        right = self.left[-1] + self.width[-1]
        return round(right + MARGIN), round(self.drawing.height + 2 * MARGIN)

    def layer(self, key: Key) -> int:
        """Which layer a key is in."""
        return next(n for n, layer in enumerate(self.drawing.layers) if key in layer)

    def middle(self, key: Key) -> float:
        """The height of a key's middle."""
        return self.drawing.middle[key] + MARGIN


def graph(report: Report) -> Markup:
    """The section about elements: the graph, and behind it the table of all dependencies."""
    if not report.elements:
        return section("elements", TITLE, note("No element took part."))
    asked = sum(part.asked for part in report.elements)
    told = note(
        f"{count(len(report.elements), 'element')}; {asked} of them, with a thick frame, were "
        "asked for by name. A line leads from an element to one that it needs, further right; "
        "needs that follow from other lines are left out."
    )
    return section("elements", TITLE, told, _frame(report), _dependencies(report))


def _frame(report: Report) -> Markup:
    canvas = _canvas(draw(report.elements), _told(report))
    width, height = canvas.size
    drawing = tag(
        "svg",
        *_lines(canvas),
        *_nodes(canvas, report),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label="Elements and what they need; the table below has the same",
    )
    name = "Graph of elements"
    return tag("div", drawing, class_="scroll graph", role="region", tabindex=0, aria_label=name)


def _canvas(drawing: Drawing, told: Mapping[str, str]) -> _Canvas:
    left, widths, x = [], [], float(MARGIN)
    for layer in drawing.layers:
        widths.append(max(_width(key, told) for key in layer))
        left.append(x)
        x += widths[-1] + GAP
    return _Canvas(drawing=drawing, left=tuple(left), width=tuple(widths))


def _width(key: Key, told: Mapping[str, str]) -> float:
    if not isinstance(key, str):
        return 0.0
    return max(min(len(key), LONGEST) * LETTER, len(told[key]) * SMALL_LETTER) + PADDING


def _told(report: Report) -> dict[str, str]:
    """What stands below each element's name."""
    seconds = _seconds(report)
    return {
        part.name: f"{count(part.hooks, 'hook')}, {duration(seconds.get(part.name, 0.0))}"
        if part.hooks
        else "no hooks"
        for part in report.elements
    }


def _nodes(canvas: _Canvas, report: Report) -> Iterator[Markup]:
    parts, told = {part.name: part for part in report.elements}, _told(report)
    for layer, left, width in zip(canvas.drawing.layers, canvas.left, canvas.width, strict=True):
        for key in layer:
            if isinstance(key, str):
                yield _node(parts[key], told[key], (left, canvas.middle(key), width))


def _node(part: Part, told: str, place: tuple[float, float, float]) -> Markup:
    x, y, width = place
    name = part.name if len(part.name) <= LONGEST else f"{part.name[: LONGEST - 1]}…"
    box = tag(
        "rect", x=f"{x:.0f}", y=f"{y - HALF:.0f}", width=f"{width:.0f}", height=2 * HALF, rx=5
    )
    text = tag("text", name, x=f"{x + 12:.0f}", y=f"{y - 2:.0f}", class_="name")
    small = tag("text", told, x=f"{x + 12:.0f}", y=f"{y + 12:.0f}", class_="told")
    title = tag("title", f"{part.name}: needs {', '.join(part.depends) or 'nothing'}")
    kind = "node asked" if part.asked else "node"
    return tag("g", title, box, text, small, class_=kind, data_name=part.name)


def _lines(canvas: _Canvas) -> Iterator[Markup]:
    for way in canvas.drawing.ways:
        curves = join(_curve(canvas, start, end) for start, end in pairwise(way))
        x, y = _right(canvas, way[0])
        yield tag(
            "path",
            d=f"M{x:.0f} {y:.0f}{curves}",
            class_="line",
            data_from=str(way[0]),
            data_to=str(way[-1]),
        )


def _curve(canvas: _Canvas, start: Key, end: Key) -> str:
    """A line to the left side of `end`, and on through it if it is a bend."""
    x, y = _right(canvas, start)
    to, height = canvas.left[canvas.layer(end)], canvas.middle(end)
    if canvas.layer(start) == canvas.layer(end):  # two that need each other
        to = x
    bow = GAP / 2
    near = to + bow if to == x else to - bow
    curve = f"C{x + bow:.0f} {y:.0f} {near:.0f} {height:.0f} {to:.0f} {height:.0f}"
    return curve if isinstance(end, str) else f"{curve}H{_right(canvas, end)[0]:.0f}"


def _right(canvas: _Canvas, key: Key) -> tuple[float, float]:
    """The middle of the right side."""
    layer = canvas.layer(key)
    return canvas.left[layer] + canvas.width[layer], canvas.middle(key)


def _seconds(report: Report) -> Mapping[str, float]:
    seconds: dict[str, float] = {}
    for row in report.rows:
        if row.hook:
            seconds[row.element] = seconds.get(row.element, 0.0) + row.seconds
    return seconds


def _dependencies(report: Report) -> Markup:
    seconds = _seconds(report)
    columns = (
        ("Element", Kind.TEXT),
        ("Needs", Kind.TEXT),
        ("Hooks", Kind.NUMBER),
        ("Time", Kind.NUMBER),
    )
    rows = [
        (
            tag("b", part.name) if part.asked else part.name,
            ", ".join(part.depends),
            Cell(str(part.hooks), part.hooks),
            Cell(duration(seconds.get(part.name, 0.0)), seconds.get(part.name, 0.0)),
        )
        for part in report.elements
    ]
    name = "Elements and what they need"
    return behind(
        "As a table, with all dependencies", table(Table(name=name, columns=columns, rows=rows))
    )

"""The chart of phases and hooks over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imagebuilder.report.markup import Markup, tag
from imagebuilder.report.model import Report
from imagebuilder.report.tables import Cell, Kind, Table, behind, section, table
from imagebuilder.report.timeline import Row
from imagebuilder.report.words import DECIMAL, amount, clock, count, duration, share

SHORT = 0.005  # of the whole; hooks shorter than that share one bar
MOST_TICKS = 6
MOST_NAMES = 12
MINUTE, HOUR = 60, 3600
STEPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30,
    MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of the chart: a phase or stage, a hook, or the short hooks of a phase."""

    kind: str  # phase, stage, hook, short
    label: str
    rows: tuple[Row, ...]  # what is drawn
    inner: tuple[Row, ...] = ()  # short hooks of a phase that has no others

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)


def gantt(report: Report) -> Markup:
    """The section about time: the chart, and behind it the table of all steps."""
    whole = max([report.seconds, *(row.start + row.seconds for row in report.rows)])
    lines = [_line(bar, number, whole) for number, bar in enumerate(bars(report.rows, whole))]
    step = tick(whole)
    chart = tag(
        "ol",
        _axis(step, whole),
        *lines,
        class_="gantt",
        style=f"--tick:{_percent(step, whole)}",
        aria_label="Phases and hooks over time",
    )
    return section("time", "Where the time went", chart, _steps(report))


def bars(rows: Sequence[Row], whole: float) -> Iterator[Bar]:
    """The lines of the chart; hooks that took less than a share of `whole` are put together."""
    for group in _groups(rows):
        phase = tuple(row for row in group if not row.hook)
        hooks = tuple(row for row in group if row.hook)
        short = tuple(row for row in hooks if _is_short(row, whole))
        if phase and len(short) == len(hooks):
            yield Bar(kind="stage", label=group[0].phase, rows=phase, inner=short)
            continue
        short = short if len(short) > 1 else ()
        yield Bar(kind="phase", label=group[0].phase, rows=phase or hooks)
        yield from (Bar(kind="hook", label=r.hook, rows=(r,)) for r in hooks if r not in short)
        if short:
            yield Bar(kind="short", label=count(len(short), "short hook"), rows=short)


def tick(whole: float) -> float:
    """The distance of the axis's marks, in seconds."""
    return next((step for step in STEPS if whole / step <= MOST_TICKS), float(STEPS[-1]))


def _is_short(row: Row, whole: float) -> bool:
    return row.status == 0 and row.seconds < whole * SHORT


def _groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of each phase together, the phases in the order they began."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.phase, []).append(row)
    yield from groups.values()


def _axis(step: float, whole: float) -> Markup:
    last = int(whole / step) if step else 0
    marks = [
        tag("span", clock(round(step * n, 2)), style=f"left:{_percent(step * n, whole)}")
        for n in range(last + 1)
        if whole and step * n <= whole * 0.94
    ]
    return tag("li", tag("span", *marks, class_="track"), class_="axis", aria_hidden="true")


def _line(bar: Bar, number: int, whole: float) -> Markup:
    state = max((_state(row) for row in bar.rows), key=ORDER.index)
    inner = tag("small", count(len(bar.inner), "hook")) if bar.inner else ""
    element = bar.rows[0].element if bar.kind == "hook" else ""
    label = tag("span", tag("b", bar.label), " ", inner or tag("small", element), class_="label")
    spans = [
        tag("i", style=f"left:{_percent(row.start, whole)};width:{_percent(row.seconds, whole)}")
        for row in bar.rows
    ]
    took = WORDS[state] if state != "taken" else duration(bar.seconds)
    tip = tag("span", *_tip(bar, whole), class_="tip", id=f"tip{number}", role="tooltip")
    return tag(
        "li",
        label,
        tag("span", *spans, class_="track", aria_hidden="true"),
        tag("span", took, class_="took"),
        tip,
        class_=f"bar {bar.kind} {state}",
        tabindex=0,
        aria_describedby=f"tip{number}",
    )


ORDER = ("taken", "cached", "open", "failed")
WORDS = {"taken": "done", "cached": "cached", "open": "stopped", "failed": "failed"}


def _state(row: Row) -> str:
    if row.cached:
        return "cached"
    if row.status is None:
        return "open"
    return "failed" if row.status else "taken"


def _result(row: Row) -> str:
    return f"failed ({row.status})" if row.status else WORDS[_state(row)]


def _tip(bar: Bar, whole: float) -> Iterator[Markup]:
    """The lines that are shown when a bar is pointed at."""
    names = bar.inner or (bar.rows if bar.kind == "short" else ())
    if bar.kind == "short":
        yield tag("b", f"{bar.label}, {duration(bar.seconds)}")
    else:
        yield from _told(bar.rows[0], whole)
    for row in names[:MOST_NAMES]:
        yield tag("span", f"{row.hook} ({row.element}): {duration(row.seconds)}")
    if len(names) > MOST_NAMES:
        yield tag("span", f"and {len(names) - MOST_NAMES} more, in the table below")


def _told(row: Row, whole: float) -> Iterator[Markup]:
    yield tag("b", f"{row.phase}.d/{row.hook}" if row.hook else row.phase)
    if row.element:
        yield tag("span", f"element {row.element}")
    part = share(row.seconds, whole)
    yield tag("span", f"{_result(row)} in {duration(row.seconds)}, {part} of the time")
    yield tag("span", f"from {clock(round(row.start, 1))} to {clock(round(_end(row), 1))}")
    if row.cpu is not None:
        yield tag("span", f"{duration(row.cpu)} of processor time")
    if row.lines:
        yield tag("span", f"{count(row.lines, 'line')} of output")
    if row.downloaded:
        yield tag("span", f"{amount(row.downloaded, DECIMAL)} downloaded")


def _end(row: Row) -> float:
    return row.start + row.seconds


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.3f}%"


def _steps(report: Report) -> Markup:
    columns = (
        ("Step", Kind.TEXT),
        ("Element", Kind.TEXT),
        ("Start", Kind.NUMBER),
        ("Time", Kind.NUMBER),
        ("CPU", Kind.NUMBER),
        ("Lines", Kind.NUMBER),
        ("Download", Kind.NUMBER),
        ("Result", Kind.TEXT),
    )
    rows = [_cells(row) for row in report.rows]
    title = f"All {count(len(rows), 'step')}"
    return behind(title, table(Table(name="Steps of the build", columns=columns, rows=rows)))


def _cells(row: Row) -> tuple[str | Cell, ...]:
    return (
        f"{row.phase}.d/{row.hook}" if row.hook else tag("b", row.phase),
        row.element,
        Cell(duration(row.start), row.start),
        Cell(duration(row.seconds), row.seconds),
        Cell("" if row.cpu is None else duration(row.cpu), row.cpu or 0),
        Cell(f"{row.lines:,}" if row.lines else "", row.lines),
        Cell(amount(row.downloaded, DECIMAL) if row.downloaded else "", row.downloaded),
        _result(row),
    )

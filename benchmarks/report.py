"""What the comparison says: a line for each build, then medians, spread and phases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

import phases
from builders import Build

MIB = 1 << 20
DIB, OURS = "diskimage-builder", "imagebuilder"
LEAST = 0.5  # below that, a ratio says nothing
SHOWN = 12  # packages of a difference that are named

Measure = tuple[str, str, Callable[[Build], float]]
MEASURES: tuple[Measure, ...] = (
    ("wall time", "s", lambda build: build.usage.wall),
    ("processor, user", "s", lambda build: build.usage.user),
    ("processor, system", "s", lambda build: build.usage.system),
    ("processor", "s", lambda build: build.usage.user + build.usage.system),
    ("size of the output", "MiB", lambda build: build.size / MIB),
    ("peak memory of the program itself", "MiB", lambda build: build.usage.peak / MIB),
    ("packages", "", lambda build: len(build.packages)),
)
POURED = (phases.WRITE, phases.CONVERT)


def line(build: Build) -> str:
    """One build in one line."""
    usage = build.usage
    notes = ["" if build.cold else "caches not dropped"]
    if build.left_behind:
        notes.append(f"left behind: {' '.join(build.left_behind)}")
    return (
        f"run {build.number}  {build.builder:<17}  {usage.wall:7.1f} s wall"
        f"  {usage.user + usage.system:7.1f} s processor  {build.size / MIB:7.1f} MiB"
        f"  {len(build.packages)} packages  load before {build.load:.1f}"
        f"  {'; '.join(note for note in notes if note)}"
    ).rstrip()


def comparison(builds: Sequence[Build]) -> str:
    """Medians of everything, the spread, and what DIB takes in multiples of what we take."""
    rows = [(f"{name} [{unit}]" if unit else name, measure) for name, unit, measure in MEASURES]
    return _table(
        ("median (min..max)", DIB, OURS, "ratio"), [_row(name, m, builds) for name, m in rows]
    )


def phase_table(builds: Sequence[Build]) -> str:
    """The phases' medians side by side."""
    rows = [_row(name, _phase(name), builds) for name in phases.ROWS]
    whole = _row("all", lambda build: sum(build.phases.values()), builds)
    return _table(("phase [s]", DIB, OURS, "ratio"), [*rows, whole])


def pour_table(builds: Sequence[Build]) -> str:
    """Pouring and converting alone, the two together, and everything that is not a phase."""
    rows = [_row(name, _phase(name), builds) for name in POURED]
    both = _row("both", lambda build: sum(build.phases[name] for name in POURED), builds)
    ended = _row("all that follows a finished tree", _after_the_tree, builds)
    size = _row("size of the output [MiB]", lambda build: build.size / MIB, builds)
    return _table(("median (min..max) [s]", DIB, OURS, "ratio"), [*rows, both, ended, size])


def differences(builds: Sequence[Build]) -> str:
    """Which packages only one of the two images has."""
    last = {build.builder: set(build.packages) for build in builds}
    if len(last) < 2:
        return ""
    only = [(DIB, last[DIB] - last[OURS]), (OURS, last[OURS] - last[DIB])]
    return "\n".join(f"packages only in {name}'s image: {_some(names)}" for name, names in only)


def _some(names: set[str]) -> str:
    """How many, and the first few."""
    first = sorted(names)[:SHOWN]
    more = ["..."] if len(names) > SHOWN else []
    return f"{len(names)} ({', '.join(first + more)})" if names else "none"


def _after_the_tree(build: Build) -> float:
    return sum(build.phases.values()) - sum(build.phases[name] for name in phases.BEFORE_THE_END)


def _phase(name: str) -> Callable[[Build], float]:
    return lambda build: build.phases[name]


def _row(name: str, measure: Callable[[Build], float], builds: Sequence[Build]) -> tuple[str, ...]:
    values = [[measure(build) for build in builds if build.builder == who] for who in (DIB, OURS)]
    theirs, own = (median(each) if each else 0.0 for each in values)
    ratio = f"{theirs / own:.2f}" if theirs and own >= LEAST else "-"
    return (name, *map(_spread, values), ratio)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    digits = 0 if isinstance(values[0], int) else 1
    middle, *ends = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({'..'.join(ends)})"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    first, *others = (max(len(cells[i]) for cells in lines) for i in range(len(header)))
    return "\n".join(
        "  ".join((
            cells[0].ljust(first),
            *(c.rjust(w) for c, w in zip(cells[1:], others, strict=True)),
        ))
        for cells in lines
    )

"""Aligned columns, and times as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

AGES = ((86400, "d"), (3600, "h"), (60, "min"))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; SIZE is aligned to the right."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if title == "SIZE" else cell.ljust(width)
            for title, cell, width in zip(titles, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def age(then: datetime, now: datetime) -> str:
    """How long ago `then` was, in its largest unit."""
    seconds = max(0, int((now - then).total_seconds()))
    for length, unit in AGES:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"

"""Cuts a build's log into phases whose seconds add up to the whole, under the same names for both.

A phase lasts from the line that shows it to have begun until the next such line. So the time
that a builder spends between two phases is part of the first, and no time is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

START, ROOT, EXTRA, PRE, INSTALL, POST, WRITE, FINALISE, CLEANUP, CONVERT, REST = ROWS = (
    "start",
    "root",
    "extra-data",
    "pre-install",
    "install",
    "post-install",
    "size, mkfs, copy / pour",
    "finalise",
    "cleanup",
    "conversion",
    "rest",
)
PHASES = {
    "root": ROOT,
    "extra-data": EXTRA,
    "pre-install": PRE,
    "install": INSTALL,
    "post-install": POST,
    "post-root": POST,
    "pre-finalise": FINALISE,
    "finalise": FINALISE,
    "cleanup": CLEANUP,
}
BEFORE_THE_END = (START, ROOT, EXTRA, PRE, INSTALL, POST)
STAGES = {
    "block-device": POST,
    "bootloader": FINALISE,
    "tidy": CLEANUP,
    "pour": WRITE,
    "qcow2": CONVERT,
    "tar": CONVERT,
    "tgz": CONVERT,
}
STAMPED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \| (.*)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a line that begins a phase looks like; if it names the phase, its first group does."""

    pattern: re.Pattern[str]
    rows: Mapping[str, str]


def _mark(pattern: str, rows: Mapping[str, str]) -> Mark:
    return Mark(re.compile(pattern), rows)


DIB_MARKS = (
    _mark(rf"Running hooks from \S*/({'|'.join(PHASES)})\.d$", PHASES),
    _mark(rf"dib-run-parts \w[\w ]* \S*?/in_target\.d/({'|'.join(PHASES)})\.d/", PHASES),
    _mark(r"(Calculating image size)", {"Calculating image size": WRITE}),
    _mark(r"(Converting image) using qemu-img", {"Converting image": CONVERT}),
    _mark(r"(Image file) \S+ created", {"Image file": REST}),
)
OUR_MARKS = (_mark(rf"({'|'.join((*PHASES, *STAGES))}) begins$", PHASES | STAGES),)
AFTER_OURS = (_mark(r"(Build completed successfully)$", {"Build completed successfully": REST}),)


def phases(log: str, marks: Sequence[Mark], wall: float) -> dict[str, float]:
    """Seconds of each row of `ROWS`; what the log does not cover of `wall` is in the rest."""
    lines = [
        (_seconds(found[1]), found[2]) for found in map(STAMPED.match, log.splitlines()) if found
    ]
    taken = dict.fromkeys(ROWS, 0.0)
    row = START
    for (now, text), (then, _) in pairwise(lines):
        row = _row(text, marks) or row
        taken[row] += then - now
    taken[REST] += wall - sum(taken.values())
    return taken


def _row(text: str, marks: Sequence[Mark]) -> str:
    for mark in marks:
        found = mark.pattern.match(text)
        if found:
            return mark.rows[found[1]]
    return ""


def _seconds(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()

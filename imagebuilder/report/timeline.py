"""Listens to a build and keeps what its report needs: when each step ran, and what it said."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from imagebuilder.events import Event, Finished, Line, Said, Started, Step

DOWNLOAD = re.compile(r"Get:\d+ .*\[([\d.,]+) ?([kMGT]?)B\]$")  # apt-get(8); its units are decimal
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
LAST_LINES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step as it went; times in seconds, `start` from the beginning of the build."""

    phase: str
    hook: str = ""
    element: str = ""
    start: float = 0.0
    seconds: float = 0.0
    status: int | None = None  # None: had not ended when the build did
    lines: int = 0
    downloaded: int = 0  # bytes
    cached: bool = False  # not taken: what it makes was there already
    cpu: float | None = None  # seconds, of all processors; None: not measured


@dataclass(slots=True)
class _Open:
    """What is known of a step so far."""

    step: Step
    start: float
    seconds: float | None = None
    status: int | None = None
    lines: int = 0
    downloaded: int = 0
    cached: bool = False
    cpu: float | None = None


@dataclass(slots=True)
class Timeline:
    """A listener that remembers; `rows` and `tail` give what it has heard so far.

    A `Finished` may carry `cpu` (seconds) and `cached`. Any other event with a `step` that is
    true as `cached` stands for a step that was not taken.
    """

    now: Callable[[], float] = time.monotonic
    begun: float = field(init=False)
    steps: dict[Step, _Open] = field(init=False, default_factory=dict)
    last: deque[str] = field(init=False, default_factory=lambda: deque(maxlen=LAST_LINES))

    def __post_init__(self) -> None:
        self.begun = self.now()

    def listen(self, event: Event) -> None:
        """Take note of one event."""
        match event:
            case Started(step):
                self.steps[step] = _Open(step, self._elapsed())
            case Line(step, text):
                self._hear(step, text)
            case Finished(step, status, seconds):
                self._finish(event, self._of(step), status, seconds)
            case Said(text):
                self.last.append(plain(text))
            case _:
                of = getattr(event, "step", None)
                if isinstance(of, Step) and getattr(event, "cached", False):
                    self.skip(of)

    def skip(self, step: Step) -> None:
        """Note that a step was not taken, for what it makes was there already."""
        known = self._of(step)
        known.status, known.cached = 0, True
        known.seconds = self._elapsed() - known.start

    @property
    def seconds(self) -> float:
        """How long it has been listening."""
        return self._elapsed()

    @property
    def downloaded(self) -> int:
        """How many bytes apt has fetched, as its output says."""
        return sum(step.downloaded for step in self.steps.values())

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of output."""
        return tuple(self.last)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every step so far, in the order they began."""
        elapsed = self._elapsed()
        return tuple(_row(step, elapsed) for step in self.steps.values())

    def _elapsed(self) -> float:
        return self.now() - self.begun

    def _of(self, step: Step) -> _Open:
        return self.steps.setdefault(step, _Open(step, self._elapsed()))

    def _hear(self, step: Step, text: str) -> None:
        self.last.append(plain(text))
        phase = Step(step.phase)  # environment.d speaks without having been started
        known = self.steps.get(step) or self.steps.get(phase)
        if known:
            known.lines += 1
            known.downloaded += downloaded(text)

    @staticmethod
    def _finish(event: Event, known: _Open, status: int, seconds: float) -> None:
        known.status, known.seconds = status, seconds
        known.cpu = getattr(event, "cpu", None)
        known.cached = bool(getattr(event, "cached", known.cached))


def downloaded(text: str) -> int:
    """How many bytes a line of apt's output says were fetched; 0 for any other line."""
    match = DOWNLOAD.search(text) if text.startswith("Get:") else None
    if not match:
        return 0
    try:
        return round(float(match[1].replace(",", "")) * UNITS[match[2]])
    except ValueError:
        return 0


def plain(text: str) -> str:
    """The text without the escape sequences of terminals (ECMA-48)."""
    return ESCAPES.sub("", text)


def _row(known: _Open, elapsed: float) -> Row:
    return Row(
        phase=known.step.phase,
        hook=known.step.hook,
        element=known.step.element,
        start=round(known.start, 3),
        seconds=round(elapsed - known.start if known.seconds is None else known.seconds, 3),
        status=known.status,
        lines=known.lines,
        downloaded=known.downloaded,
        cached=known.cached,
        cpu=known.cpu,
    )

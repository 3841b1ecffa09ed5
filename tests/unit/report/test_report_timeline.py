"""What a build's events leave behind."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from imagebuilder.events import Finished, Line, Said, Started, Step, Ticked
from imagebuilder.report.timeline import Row, Timeline, downloaded, plain

PHASE = Step("install")
HOOK = Step("install", "10-web", "web")
FETCHED = "Get:12 http://mirror.example/debian bookworm/main amd64 curl amd64 7.88.1-10 [309 kB]"


class Clock:
    """A clock that is set by hand, in seconds."""

    time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeline(clock: Clock) -> Timeline:
    return Timeline(now=clock)


def test_a_step_has_its_start_and_duration(clock: Clock, timeline: Timeline) -> None:
    clock.time += 2
    timeline.listen(Started(HOOK))
    timeline.listen(Finished(HOOK, 0, 1.5))
    row = Row(phase="install", hook="10-web", element="web", start=2, seconds=1.5, status=0)
    assert timeline.rows == (row,)


def test_rows_are_in_the_order_of_their_beginnings(timeline: Timeline) -> None:
    for event in (Started(PHASE), Started(HOOK), Finished(HOOK, 0, 1), Finished(PHASE, 0, 1)):
        timeline.listen(event)
    assert [row.hook for row in timeline.rows] == ["", "10-web"]


def test_a_step_that_has_not_ended_has_no_status(clock: Clock, timeline: Timeline) -> None:
    timeline.listen(Started(HOOK))
    clock.time += 7
    (row,) = timeline.rows
    assert (row.status, row.seconds) == (None, 7)


def test_lines_and_downloads_are_counted(timeline: Timeline) -> None:
    timeline.listen(Started(HOOK))
    for text in (FETCHED, "Unpacking curl", FETCHED):
        timeline.listen(Line(HOOK, text))
    (row,) = timeline.rows
    assert (row.lines, row.downloaded) == (3, 618_000)
    assert timeline.downloaded == 618_000


def test_lines_of_environment_files_count_for_the_phase(timeline: Timeline) -> None:
    timeline.listen(Started(PHASE))
    timeline.listen(Line(Step("install", "environment.d"), "hello"))
    assert [row.lines for row in timeline.rows] == [1]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Get:1 http://mirror.example/debian bookworm InRelease [151 kB]", 151_000),
        ("Get:2 http://mirror.example/debian bookworm InRelease [55.4 kB]", 55_400),
        ("Get:5 http://mirror.example/debian bookworm/main Packages [6924 B]", 6924),
        (
            "Get:6 http://mirror.example/debian bookworm/main amd64 linux 6.1 [1,234 MB]",
            1234 * 10**6,
        ),
        ("Get:7 http://mirror.example/debian bookworm/main amd64 linux 6.1 [1.2.3 MB]", 0),
        ("Hit:7 http://mirror.example/debian bookworm InRelease", 0),
        ("he said Get:1 x [151 kB]", 0),
    ],
)
def test_sizes_of_downloads_are_read(text: str, size: int) -> None:
    assert downloaded(text) == size


def test_the_tail_is_the_last_output_without_escapes(timeline: Timeline) -> None:
    for number in range(100):
        timeline.listen(Line(HOOK, f"\x1b[1;31mline {number}\x1b[0m"))
    timeline.listen(Said("over", warning=True))
    assert timeline.tail[-2:] == ("line 99", "over")
    assert len(timeline.tail) == 60


def test_titles_of_terminals_are_no_text() -> None:
    assert plain("a\x1b]0;title\x07b\x1b(Bc") == "ab\x1b(Bc"


def test_ticks_leave_nothing(timeline: Timeline) -> None:
    timeline.listen(Ticked())
    assert timeline.rows == ()


@dataclass(frozen=True, slots=True)
class Measured(Finished):
    """An ending that knows more."""

    cpu: float = 0.0
    cached: bool = False


def test_an_ending_may_tell_processor_time_and_that_it_was_cached(timeline: Timeline) -> None:
    timeline.listen(Started(HOOK))
    timeline.listen(Measured(HOOK, 0, 1, cpu=0.7, cached=True))
    (row,) = timeline.rows
    assert (row.cpu, row.cached) == (0.7, True)


def test_an_ending_that_tells_neither_is_of_a_step_that_was_taken(timeline: Timeline) -> None:
    timeline.listen(Finished(HOOK, 0, 1))
    (row,) = timeline.rows
    assert (row.cpu, row.cached) == (None, False)


@dataclass(frozen=True, slots=True)
class Skipped(Ticked):
    step: Step
    cached: bool = True


def test_an_event_may_tell_that_a_step_was_not_taken(timeline: Timeline) -> None:
    timeline.listen(Skipped(PHASE))
    assert timeline.rows == (Row(phase="install", status=0, cached=True),)

"""How the core says what is happening: it calls a listener, and never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that takes time: a phase, a hook in it, or a stage after the phases."""

    phase: str
    hook: str = ""
    element: str = ""

    def __str__(self) -> str:
        return f"{self.phase}.d/{self.hook}" if self.hook else self.phase


@dataclass(frozen=True, slots=True)
class Started:
    step: Step


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a step's output, without its newline."""

    step: Step
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """`cached`: the step was not taken, its result was there; `cpu`: seconds, if known."""

    step: Step
    status: int
    seconds: float
    cached: bool = False
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A remark of the core itself."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Ticked:
    """Nothing new, but time has passed: a moment to redraw a clock."""


Event = Started | Line | Finished | Said | Ticked
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does not."""
    del event

"""The live view of a build on a terminal: what is done, what runs, and for how long."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from imagebuilder.events import Event, Finished, Line, Said, Started, Step

DOWNLOAD = re.compile(r"Get:\d+ \S+ \S+ (?:\S+ )?(\S+) \S+ \S+ \[(.+)\]$")
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
REDRAW = 0.1  # seconds between two drawings at least


@dataclass(slots=True)
class Live:
    """One line for each finished phase; below them the running hook and its last words."""

    view: RichLive
    begun: float = field(default_factory=time.monotonic)
    phase: Step | None = None
    phase_begun: float = 0.0
    hook: Step | None = None
    hook_begun: float = 0.0
    words: str = ""
    drawn: float = 0.0

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Live, None, None]:
        """A live view on standard output, drawn only when events come (no thread)."""
        with RichLive(console=Console(), auto_refresh=False, transient=True) as view:
            yield cls(view)

    def show(self, event: Event) -> None:
        """Draw what the event changed."""
        now = time.monotonic()
        match event:
            case Started(step) if step.hook:
                self.hook, self.hook_begun, self.words = step, now, ""
            case Started(step):
                self.phase, self.phase_begun, self.hook, self.words = step, now, None, ""
            case Finished(step, status, seconds) if not step.hook:
                time_taken = "cached" if event.cached else f"{seconds:6.1f} s"
                self._print(_mark(status), f"{step}", time_taken)
            case Line(_, text):
                self.words = _shortened(text)
            case Said(text, warning=True):
                self._print("!", text, "")
            case _:
                pass
        if now - self.drawn > REDRAW:
            self.view.update(self._drawing(now), refresh=True)
            self.drawn = now

    def stop(self) -> None:
        """Take the view off the terminal."""
        self.view.update(Text(""), refresh=True)
        self.view.stop()

    def _print(self, mark: str, text: str, time_taken: str) -> None:
        self.view.console.print(Text(f"{mark} {text:<20} {time_taken}"), highlight=False)

    def _drawing(self, now: float) -> Text:
        spinner = SPINNER[int(now / REDRAW) % len(SPINNER)]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(
            f"{spinner} {self.phase or 'planning'} {now - (self.phase_begun or self.begun):.0f} s"
        )
        if self.hook:
            text.append(f"  {self.hook.hook} ", style="bold")
            text.append(f"({self.hook.element}, {now - self.hook_begun:.0f} s)")
        text.append(f"\n  {self.words}", style="dim")
        return text


def _mark(status: int) -> str:
    return "✗" if status else "✓"


def _shortened(text: str) -> str:
    download = DOWNLOAD.search(text)
    return f"downloading {download[1]} ({download[2]})" if download else text.strip()

"""What a build says: timestamped lines, and on a terminal a live view instead of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from imagebuilder import __version__
from imagebuilder.cli.guard import complain
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.events import Event, Finished, Line, Said, Started
from imagebuilder.options import Request
from imagebuilder.sizes import Size

if TYPE_CHECKING:
    from imagebuilder.cli.live import Live
    from imagebuilder.formats.model import Artefact


@dataclass(slots=True)
class Log:
    """Where a build's events go: a stream, a file, a live view, or several of them."""

    stream: TextIO | None
    file: TextIO | None
    live: Live | None
    stamped: bool = True
    begun: float = field(default_factory=time.monotonic)
    hooks: list[Finished] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, request: Request) -> Generator[Log, None, None]:
        """The log that a request and its environment ask for."""
        environment = request.environment
        quiet = environment.get("DIB_QUIET", "1" if request.logfile else "0") not in ("", "0")
        with ExitStack() as stack:
            file = stack.enter_context(_append(request.logfile)) if request.logfile else None
            live = None
            plain = quiet or request.trace or environment.get("break")
            if not plain and sys.stdout.isatty():
                from imagebuilder.cli.live import Live  # rich costs 100 ms

                live = stack.enter_context(Live.started())
            stamped = environment.get("DIB_NO_TIMESTAMP", "0") in ("", "0")
            yield cls(None if quiet or live else sys.stdout, file, live, stamped)

    def begin(self, request: Request) -> None:
        """The lines that a build's log starts with."""
        self.say(f"imagebuilder version {__version__}")
        self.say(f"Building elements: {' '.join(request.elements)}")

    def listen(self, event: Event) -> None:
        """Take note of one event."""
        if self.live:
            self.live.show(event)
        match event:
            case Started(step) if step.hook:
                self.say(f"dib-run-parts Running {step}")
            case Started(step):
                self.hooks.clear()
                self.say(f"{step} begins")
            case Line(step, text):
                self.say(f"{step.element or step.phase} | {text}")
            case Finished(step) if step.hook:
                self.hooks.append(event)
                self.say(f"dib-run-parts {step.hook} {_ending(event)}")
            case Finished(step):
                self._profile()
                cached = " (cached)" if event.cached else ""
                self.say(f"{step} {_ending(event)} after {event.seconds:.1f} s{cached}")
            case Said(text, warning):
                self.say(f"warning: {text}" if warning else text)
            case _:
                pass

    def say(self, text: str) -> None:
        """Write one line wherever lines go."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        for line in text.split("\n"):
            if self.stream:
                _write(f"{stamp} | {line}" if self.stamped else line, self.stream)
            if self.file:
                _write(f"{stamp} | {line}", self.file)

    def fail(self, error: BuildError) -> None:
        """Report what ended the build; on standard error too where the log does not show."""
        self.say(f"error: {error}")
        if self.live:
            self.live.stop()
        if not self.stream:
            complain(error)

    def end(self, artefacts: Iterable[Artefact]) -> None:
        """Report what was made."""
        if self.live:
            self.live.stop()
        for artefact in artefacts:
            line = f"{artefact.path} ({Size(artefact.size)})"
            self.say(f"Image file {artefact.path} created...\n{line}")
            if self.live:
                print(line)
        self.say("Build completed successfully")
        if self.live:
            print(f"Build completed successfully in {time.monotonic() - self.begun:.1f} s")

    def _profile(self) -> None:
        """The table of a phase's hooks and their seconds, as diskimage-builder prints it."""
        if not self.hooks:
            return
        rows = [f"{done.step.hook:<50} {done.seconds:8.3f}" for done in self.hooks]
        self.say("\n".join(("----------------------- PROFILING -----------------------", "",
            f"Target: {self.hooks[0].step.phase}.d", "",
            f"{'Script':<50} {'Seconds':>8}", "-" * 59, *rows, "",
            "--------------------- END PROFILING ---------------------")))  # fmt: skip
        self.hooks.clear()


def _write(line: str, file: TextIO) -> None:
    try:
        print(line, file=file, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard output" if file is sys.stdout else file.name
        raise BuildError(
            f"the log cannot be written: {error.strerror}",
            where=where,
            hint="make room there, or log elsewhere",
        ) from error


def _ending(done: Finished) -> str:
    return "completed" if done.status == 0 else f"failed with status {done.status}"


def _close(file: TextIO) -> None:
    with suppress(OSError):  # each line is written at once: what could not be has been told
        file.close()


@contextmanager
def _append(name: str) -> Generator[TextIO, None, None]:
    with ExitStack() as stack:
        try:
            # ruff: ignore[open-file-with-context-handler] - closed by the stack, without complaint
            file = Path(name).open("a", encoding="utf-8", errors="backslashreplace")
            stack.callback(_close, file)
        except OSError as error:
            place = f"--logfile {name}"
            raise ConfigError(f"cannot write: {error.strerror}", where=place) from error
        print(f"Output logs going to: {name}", flush=True)
        yield file

"""Runs a program to its exit status; an expected failure becomes one clear message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from imagebuilder.cli import signals
from imagebuilder.errors import FULL, BuildError, SpaceError, ToolMissingError

LIBRARIES = ("yaml", "jsonschema", "networkx", "stevedore", "rich")
BROKEN_PIPE = 141


class ReportedError(BuildError):
    """A failure that the user has been told about."""

    def __init__(self, error: BuildError) -> None:
        super().__init__(error.what, where=error.where, hint=error.hint)
        self.error, self.exit_status = error, error.exit_status


def guarded(
    action: Callable[[], int], status: Callable[[BuildError], int] = lambda e: e.exit_status
) -> int:
    """The action's own status, or `status` of the BuildError that ended it."""
    _open_standard_streams()
    try:
        signals.install()
        return _written_out(action())
    except ReportedError as error:
        return status(error.error)
    except BuildError as error:
        complain(error)
        return status(error)
    except BrokenPipeError:
        _discard(sys.stdout)
        return BROKEN_PIPE
    except (OSError, MemoryError, RecursionError, ModuleNotFoundError) as error:
        explained = _explained(error)
        complain(explained)
        return status(explained)


def _written_out(status: int) -> int:
    """The status, once all that was printed is where it was to go."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
        raise
    return status


def complain(error: BuildError) -> None:
    """One clear message on standard error, if that can be written."""
    try:
        print(f"error: {error}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _open_standard_streams() -> None:
    """Those that the caller has closed lead nowhere; else files opened later took their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(_nowhere(), number)
            # dup2() leaves this as it is if the number is its own.
            os.set_inheritable(number, True)  # ruff: ignore[boolean-positional-value-in-call]
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Have what is left in a stream, and all that follows, lead nowhere."""
    os.dup2(_nowhere(), stream.fileno())


def _nowhere() -> int:
    return os.open(os.devnull, os.O_RDWR)


def _explained(error: OSError | MemoryError | RecursionError | ModuleNotFoundError) -> BuildError:
    """What the machine has refused, as a failure that says where."""
    if isinstance(error, ModuleNotFoundError):
        return _without_library(error)
    if isinstance(error, MemoryError):
        return SpaceError("out of memory", hint="look at 'ulimit -v' and at what else is running")
    if isinstance(error, RecursionError):
        hint = "look for directories, or lists, that contain each other hundreds of times"
        return BuildError("something is nested too deeply", hint=hint)
    where = str(error.filename or "")
    if error.errno in FULL:
        other = "" if where else "make room where standard output goes; "
        return SpaceError(
            "no space left on device",
            where=where,
            hint=f"{other}TMPDIR names another directory for scratch files",
        )
    if not where and not _is_somewhere():
        return BuildError(
            "the current directory has been removed", hint="change to one that is there"
        )
    return BuildError(error.strerror or str(error), where=where)


def _is_somewhere() -> bool:
    try:
        return Path.cwd().is_absolute()
    except OSError:
        return False


def _without_library(error: ModuleNotFoundError) -> BuildError:
    if error.name not in LIBRARIES:
        raise error
    return ToolMissingError(
        f"the Python library {error.name} is not installed",
        hint="'imagebuilder doctor --install' brings what is missing",
    )

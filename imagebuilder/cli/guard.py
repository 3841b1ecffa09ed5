"""Runs a program to its exit status; an expected failure becomes one clear message."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagebuilder.cli import signals
from imagebuilder.errors import BuildError, ConfigError, SpaceError, ToolMissingError

LIBRARIES = ("yaml", "jsonschema", "networkx", "stevedore", "rich")
BROKEN_PIPE = 141
FULL = (errno.ENOSPC, errno.EDQUOT)


class ReportedError(BuildError):
    """A failure that the user has been told about."""

    def __init__(self, error: BuildError) -> None:
        super().__init__(error.what, where=error.where, hint=error.hint)
        self.error, self.exit_status = error, error.exit_status


def guarded(
    action: Callable[[], int], status: Callable[[BuildError], int] = lambda e: e.exit_status
) -> int:
    """The action's own status, or `status` of the BuildError that ended it."""
    signals.install()
    _open_streams()
    try:
        _check_directory()
        return action()
    except ReportedError as error:
        return status(error.error)
    except BuildError as error:
        complain(error)
        return status(error)
    except ModuleNotFoundError as error:
        return _without_library(error, status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except OSError as error:
        return _without_room(error, status)


def _open_streams() -> None:
    """Have standard streams that the caller closed be empty, and not what is opened next."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _check_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ConfigError(
            "the directory that this was started in has been removed",
            hint="go to one that is there",
        ) from error


def complain(error: BuildError) -> None:
    """One clear message on standard error."""
    print(f"error: {error}", file=sys.stderr, flush=True)


def _without_library(error: ModuleNotFoundError, status: Callable[[BuildError], int]) -> int:
    if error.name not in LIBRARIES:
        raise error
    explained = ToolMissingError(
        f"the Python library {error.name} is not installed",
        hint="'imagebuilder doctor --install' brings what is missing",
    )
    complain(explained)
    return status(explained)


def _without_room(error: OSError, status: Callable[[BuildError], int]) -> int:
    if error.errno not in FULL:
        raise error
    explained = SpaceError(
        "no space left on device",
        where=str(error.filename or tempfile.gettempdir()),
        hint="TMPDIR names another directory for scratch files",
    )
    if error.filename is None and _is_full(sys.stdout.fileno()):
        explained = SpaceError("no space left on device", where="standard output")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    complain(explained)
    return status(explained)


def _is_full(stream: int) -> bool:
    try:
        os.write(stream, b"\n")
    except OSError as error:
        return error.errno in FULL
    return False

"""`disk-image-create`: diskimage-builder's command line, and its exit statuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from imagebuilder import __version__
from imagebuilder.cli import signals
from imagebuilder.cli.log import Log, complain
from imagebuilder.errors import BuildError, HookError, Interrupted
from imagebuilder.options import Request, parse, usage

PROGRAM = "disk-image-create"


def main(words: Sequence[str]) -> int:
    """Build what the words ask for; 0, a hook's own status, 128 + signal, or 1."""
    return guarded(lambda: create(words, PROGRAM), status=_status)


def create(words: Sequence[str], program: str) -> int:
    """Parse, build, report; raise BuildError if that cannot be done."""
    request = parse(words, os.environ)
    if request.help or request.version:
        print(usage(program) if request.help else __version__)
        return 0
    return build(request)


def build(request: Request) -> int:
    """Build what `request` asks for, with a log; errors go to the log as well."""
    from imagebuilder.build.story import build as story

    with Log.open(request) as log:
        try:
            log.begin(request)
            artefacts = story(request, log.listen)
        except BuildError as error:
            log.fail(error)
            raise ReportedError(error) from error
        log.end(artefacts)
    return 0


class ReportedError(BuildError):
    """A failure that the user has been told about."""

    def __init__(self, error: BuildError) -> None:
        super().__init__(error.what, where=error.where, hint=error.hint)
        self.error, self.exit_status = error, error.exit_status


def guarded(
    action: Callable[[], int], status: Callable[[BuildError], int] = lambda e: e.exit_status
) -> int:
    """Run a program to its exit status; an expected failure becomes one clear message."""
    signals.install()
    try:
        return action()
    except ReportedError as error:
        return status(error.error)
    except BuildError as error:
        complain(error)
        return status(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _status(error: BuildError) -> int:
    """diskimage-builder's: a hook's own status, else 1."""
    return error.exit_status if isinstance(error, HookError | Interrupted) else 1

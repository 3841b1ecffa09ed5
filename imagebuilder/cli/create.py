"""`disk-image-create` and `ramdisk-image-create`: diskimage-builder's command line and statuses."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence

from imagebuilder import __version__
from imagebuilder.cli.guard import ReportedError, guarded
from imagebuilder.cli.log import Log
from imagebuilder.errors import BuildError, HookError, Interrupted
from imagebuilder.options import Request, parse, usage

PROGRAM = "disk-image-create"
RAMDISK_PROGRAM = "ramdisk-image-create"


def main(words: Sequence[str], program: str = PROGRAM) -> int:
    """Build what the words ask for; 0, a hook's own status, 128 + signal, or 1."""
    return guarded(lambda: create(words, program), status=_status)


def create(words: Sequence[str], program: str, more_help: str = "") -> int:
    """Parse, build, report; raise BuildError if that cannot be done."""
    request = parse(words, os.environ, ramdisk=program == RAMDISK_PROGRAM)
    if request.help or request.version:
        print(usage(program) + more_help if request.help else __version__)
        return 0
    return build(request)


def build(request: Request) -> int:
    """Build what `request` asks for, with a log; errors go to the log as well."""
    from imagebuilder.build.story import build as story

    gc.disable()  # a build makes many objects and few circles: collecting is a twentieth of it
    with Log.open(request) as log:
        try:
            log.begin(request)
            artefacts = story(request, log.listen)
        except BuildError as error:
            log.fail(error)
            raise ReportedError(error) from error
        log.end(artefacts)
    return 0


def _status(error: BuildError) -> int:
    """diskimage-builder's: a hook's own status, else 1."""
    return error.exit_status if isinstance(error, HookError | Interrupted) else 1

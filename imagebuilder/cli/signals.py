"""SIGINT, SIGTERM and SIGHUP end a build as errors do: everything open is closed on the way out."""

from __future__ import annotations

import signal
from types import FrameType

from imagebuilder.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """Turn the first of these signals into an Interrupted error, and ignore what follows."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)

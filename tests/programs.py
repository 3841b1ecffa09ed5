"""How tests start programs that have to be ended by signals."""

from __future__ import annotations

import signal


def take_signals() -> None:
    """Undo what a shell does to programs in the background, which would ignore them for good."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

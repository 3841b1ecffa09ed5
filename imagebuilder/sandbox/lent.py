"""What a command in a sandbox is lent of the caller's: standard input, or a whole terminal.

A terminal cannot be shared between sessions. A command that is to have one gets a new one, and
what is typed at ours and shown at its is passed on while it runs.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

WINDOW = struct.Struct("HHHH")  # rows, columns, pixels: tty_ioctl(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A descriptor for the command, and pairs of ours to pass on between meanwhile."""

    descriptor: int
    pairs: Mapping[int, int] = field(default_factory=dict)

    def pass_on(self, ready: Collection[int]) -> None:
        """Pass on what there is."""
        for source in self.pairs.keys() & set(ready):
            with suppress(OSError):  # the terminal has gone; the command will find out
                os.write(self.pairs[source], os.read(source, 1 << 16))


@contextmanager
def standard_input() -> Generator[Lent, None, None]:
    """Our standard input; if that is a terminal, a terminal."""
    if not os.isatty(0):
        yield Lent(descriptor=0)
        return
    shown = 1 if os.isatty(1) else 0
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, WINDOW.pack(0, 0, 0, 0))
    )
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield Lent(descriptor=theirs, pairs={0: ours, ours: shown})
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        os.close(ours)
        os.close(theirs)

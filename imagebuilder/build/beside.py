"""Work that a process of its own does beside the build: only its result comes back."""

from __future__ import annotations

import os
import pickle  # ruff: ignore[suspicious-pickle-import] - from a fork of this process
import signal
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from imagebuilder.sandbox.kernel import die_with_parent

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
T = TypeVar("T")


class Beside(Generic[T]):
    """Begins `work` in a process that dies with this one, and at the end of the context.

    What `work` returns is all that comes of it here; it must be such that it can be done again.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        reading, writing = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            _do(work, writing)
        os.close(writing)
        self.channel = os.fdopen(reading, "rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End what goes on without a result."""
        if not self.channel.closed:
            self.channel.close()
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)

    def result(self) -> T:
        """Wait for what came of it; if that process did not reach its end, `work` is done here."""
        with self.channel:
            told = self.channel.read()
        if os.waitpid(self.child, 0)[1] == 0:
            result: T = pickle.loads(told)  # ruff: ignore[suspicious-pickle-usage] - as above
            return result
        return self.work()


def _do(work: Callable[[], object], channel: int) -> None:
    """Never returns, and leaves nothing of the parent's open files, buffers and handlers to run."""
    status = 1
    try:
        die_with_parent()
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        with os.fdopen(channel, "wb") as file:
            pickle.dump(work(), file)
        status = 0
    finally:
        os._exit(status)

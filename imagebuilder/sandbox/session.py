"""The builder's side of a sandbox: enter it, run commands in it, leave nothing behind."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import CommandError, ToolMissingError
from imagebuilder.process import Command, Result, checked
from imagebuilder.sandbox import inside, kernel, wire
from imagebuilder.sandbox.lent import Lent
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.wire import LENT, Exited, Kind, Request

TICK = 0.25  # seconds between two calls of `tick` while a command is silent


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command in a sandbox ended, and what it wrote to file descriptor 3."""

    exited: Exited
    captured: bytes = b""


@dataclass(frozen=True, slots=True)
class Session:
    """A running sandbox. Called with a Command it is a `Runner`."""

    sandbox: Sandbox
    channel: socket.socket

    def __call__(self, command: Command) -> Result:
        chunks: list[bytes] = []
        outcome = self.execute(command, chunks.append)
        text = b"".join(chunks).decode(errors="replace")
        return checked(Result(command, outcome.exited.status, text))

    def execute(
        self,
        command: Command,
        output: Callable[[bytes], None],
        *,
        tick: Callable[[], None] = lambda: None,
        capture: bool = False,
        lent: Lent | None = None,
    ) -> Outcome:
        """Run to the end; `output` gets what it prints, as it comes; any status is fine.

        With a terminal that is `lent` it prints to that. It may then take any time.
        """
        request = self._request(command, capture, lent is not None)
        wire.send_value(self.channel, Kind.REQUEST, request)
        if lent is not None:
            socket.send_fds(self.channel, [LENT], [lent.descriptor])
        captured = b""
        while True:
            self._wait(tick, lent)
            kind, payload = self._receive(command)
            if kind is Kind.OUTPUT:
                output(payload)
            elif kind is Kind.CAPTURED:
                captured = payload
            elif kind is Kind.EXITED:
                return Outcome(Exited(**json.loads(payload)), captured)

    def _wait(self, tick: Callable[[], None], lent: Lent | None) -> None:
        """Until there is a frame."""
        others = lent.pairs.keys() if lent else ()
        ready: list[int] = []
        while self.channel.fileno() not in ready:
            ready = select.select([self.channel.fileno(), *others], [], [], TICK)[0]
            if lent:
                lent.pass_on(ready)
            if not ready:
                tick()

    def _request(self, command: Command, capture: bool, lent: bool) -> Request:  # ruff: ignore[boolean-type-hint-positional-argument] - private
        here = str(Path.cwd()) if self.sandbox.root is None else "/"
        return Request(
            argv=command.argv,
            env=command.environment(),
            cwd=str(command.cwd or here),
            umask=command.umask,
            stdin=command.stdin.decode("latin-1"),
            capture=capture,
            lent=lent,
        )

    def _receive(self, command: Command) -> tuple[Kind, bytes]:
        frame = wire.receive(self.channel)
        if frame is None:
            raise CommandError("the sandbox was killed while this ran", where=str(command))
        if frame[0] is Kind.FAILED:
            raise CommandError(frame[1].decode(errors="replace"), where=str(command))
        return frame


@contextmanager
def enter(sandbox: Sandbox) -> Generator[Session, None, None]:
    """A session in the sandbox; leaving it ends every process and mount that is left in there."""
    ours, theirs = socket.socketpair()
    supervisor = os.fork()
    if supervisor == 0:
        ours.close()
        inside.supervise(sandbox, theirs)
    theirs.close()
    try:
        _wait_until_ready(ours)
        yield Session(sandbox, ours)
    finally:
        ours.close()
        os.waitpid(supervisor, 0)
        if sandbox.furnish is not None:
            _clear(sandbox.furnish)


def _clear(tree: Path) -> None:
    """Unmount what a furnished tree had mounted: from there it has reached this namespace."""
    points = [tree / name for name in inside.KERNEL_DIRECTORIES]
    for mounted in kernel.mounts_below(tree):
        if any(mounted.is_relative_to(point) for point in points):
            with suppress(OSError):
                kernel.unmount(mounted)


def _wait_until_ready(channel: socket.socket) -> None:
    frame = wire.receive(channel)
    if frame is None or frame[0] is not Kind.READY:
        reason = frame[1].decode(errors="replace") if frame else "the supervisor died"
        raise ToolMissingError(
            f"cannot make a sandbox: {reason}",
            hint="namespaces are needed: run as root, or see 'imagebuilder doctor'",
        )

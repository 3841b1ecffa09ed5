"""A machine of a test's own: somebody types at its serial console, and asks its guest agent."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagebuilder import process
from imagebuilder.machine import qemu
from imagebuilder.machine.console import Console
from imagebuilder.machine.model import Machine
from imagebuilder.machine.prepare import prepare
from imagebuilder.process import Command

CHANNEL = "org.qemu.guest_agent.0"  # QEMU, docs/interop/qemu-ga.rst


@dataclass(slots=True, kw_only=True)
class Session:
    """A machine that runs."""

    program: subprocess.Popen[bytes]
    agent: Path
    console: Console
    place: int = 0  # of the console's text, up to where it was awaited

    def await_(self, expression: str, seconds: float = 400) -> re.Match[str]:
        """Wait for something on the console; fail if it does not come."""
        assert self.program.stdout
        end = time.monotonic() + seconds
        while not (found := re.compile(expression).search(self.console.text, self.place)):
            left = end - time.monotonic()
            ready = select.select([self.program.stdout], [], [], max(0, left))[0]
            assert ready, f"no {expression!r}: {self.console.text[-2000:]}"
            piece = os.read(self.program.stdout.fileno(), 2**16)
            assert piece, f"stopped before {expression!r}: {self.console.text[-2000:]}"
            self.console.feed(piece)
        self.place = found.end()
        return found

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.program.stdin
        self.program.stdin.write(line.encode() + b"\r")
        self.program.stdin.flush()

    def ask_agent(self, command: str, seconds: float = 60) -> Any:
        """What the guest agent returns; it has to be there within that time."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self.agent))
            connection.sendall(json.dumps({"execute": command}).encode() + b"\n")
            with connection.makefile(encoding="utf-8") as answers:
                return json.loads(answers.readline())["return"]


@contextmanager
def started(machine: Machine) -> Generator[Session, None, None]:
    """The machine, ended in the end."""
    with tempfile.TemporaryDirectory(prefix="test-machine-") as name:
        directory = Path(name)
        parts = prepare(machine, directory, process.run)
        agent = directory / "agent"
        channel = (
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
            "-device", f"virtserialport,chardev=agent,name={CHANNEL}",
        )  # fmt: skip
        argv = qemu.on_pipe((*qemu.argv(machine, parts), *channel))
        with process.started(Command(argv, env={"TMPDIR": name}), interactive=True) as program:
            yield Session(program=program, agent=agent, console=Console())

"""What a builder and the pid 1 of its sandbox say to each other over one socket."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass
from enum import Enum

HEADER = struct.Struct("!cI")
LENT = b"L"  # goes with a descriptor


class Kind(Enum):
    """The first byte of a frame."""

    READY = b"R"
    FAILED = b"F"
    REQUEST = b"Q"
    OUTPUT = b"O"
    CAPTURED = b"C"
    EXITED = b"E"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command to run; with `capture`, what it writes to file descriptor 3 comes back.

    With `lent`, a descriptor follows: the command's standard input, or all its terminal.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    umask: int
    stdin: str = ""  # Latin-1, one character a byte
    capture: bool = False
    lent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """How a command ended: `status` as a shell counts it, wall and CPU time in seconds."""

    status: int
    seconds: float
    cpu: float
    timed_out: bool = False


def send(wire: socket.socket, kind: Kind, payload: bytes) -> None:
    """Send one frame."""
    wire.sendall(HEADER.pack(kind.value, len(payload)) + payload)


def send_value(wire: socket.socket, kind: Kind, value: Request | Exited) -> None:
    """Send one frame that holds a value."""
    send(wire, kind, json.dumps(asdict(value)).encode())


def receive(wire: socket.socket) -> tuple[Kind, bytes] | None:
    """The next frame, or None when the other side has gone."""
    header = _read(wire, HEADER.size)
    if header is None:
        return None
    kind, length = HEADER.unpack(header)
    payload = _read(wire, length)
    return None if payload is None else (Kind(kind), payload)


def _read(wire: socket.socket, length: int) -> bytes | None:
    parts = []
    while length:
        part = wire.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)

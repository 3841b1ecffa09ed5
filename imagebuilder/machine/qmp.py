"""A word with qemu itself, in its machine protocol (docs/interop/qmp-spec of qemu)."""

from __future__ import annotations

import json
import socket
from pathlib import Path

PATIENCE = 10.0  # seconds that qemu may take to answer


def power_down(control: Path) -> None:
    """Press the power button of the machine whose QMP socket is `control`; raise OSError."""
    _tell(control, {"execute": "system_powerdown"})


def picture(control: Path, file: Path) -> None:
    """Write what is on the machine's screen to `file`, as a PNG; raise OSError."""
    where = {"filename": str(file), "format": "png"}
    _tell(control, {"execute": "screendump", "arguments": where})


def _tell(control: Path, wanted: dict[str, object]) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(control))
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.readline()
            for command in ({"execute": "qmp_capabilities"}, wanted):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                stream.readline()

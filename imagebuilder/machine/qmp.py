"""A word with qemu itself, in its machine protocol (docs/interop/qmp-spec of qemu)."""

from __future__ import annotations

import json
import socket
from pathlib import Path

PATIENCE = 10.0  # seconds that qemu may take to answer


def power_down(control: Path) -> None:
    """Press the power button of the machine whose QMP socket is `control`; raise OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(control))
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                stream.readline()

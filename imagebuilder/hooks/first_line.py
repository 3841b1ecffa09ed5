"""Why a hook could not be started, which the kernel says in words that mislead: ENOENT."""

from __future__ import annotations

from pathlib import Path

from imagebuilder import paths

CANNOT_BE_STARTED = (126, 127)


def hint(hook: Path, status: int, root: Path) -> str:
    """What to do about a hook's first line, if that is what `status` is about."""
    if status not in CANNOT_BE_STARTED or not hook.is_file():
        return ""
    with hook.open("rb") as file:
        line = file.readline(256)
    if not line.startswith(b"#!"):
        return ""
    if line.endswith(b"\r\n"):
        return "its lines end as Windows ends them: sed -i 's/\\r$//' on the file makes them Unix's"
    program = line[2:].split()[0].decode(errors="replace") if line[2:].split() else ""
    if program.startswith("/") and not paths.exists_in(root, program):
        return f"its first line names {program}, which is not there"
    return ""

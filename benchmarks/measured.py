"""Runs one program and measures it: wall time, processor time, and its own peak of memory."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE = 0.1  # seconds between two looks at a running program
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program took: seconds, and bytes of memory of its own process, not its children's."""

    status: int
    wall: float
    user: float
    system: float
    peak: int


def measured(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Usage:
    """Run to the end, all output to `log`; interrupted, it takes its process group along."""
    with log.open("wb") as file:
        begun = time.monotonic()
        program = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        peak = _watch(program.pid)
        _, status, taken = os.wait4(program.pid, 0)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        program.wait()
        raise
    program.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        status=program.returncode,
        wall=time.monotonic() - begun,
        user=taken.ru_utime,
        system=taken.ru_stime,
        peak=peak,
    )


def drop_caches() -> bool:
    """Write everything to disk and empty the kernel's caches; whether that was permitted."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def _watch(pid: int) -> int:
    """The highest VmHWM (`proc_pid_status(5)`) seen until the program ends, without reaping it.

    The `ru_maxrss` of `wait4` would not do: it is the largest of the program's children too.
    """
    peak = 0
    watched = os.pidfd_open(pid)
    try:
        while not select.select([watched], [], [], SAMPLE)[0]:
            peak = max(peak, _high_water_mark(pid))
    finally:
        os.close(watched)
    return peak


def _high_water_mark(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * KIB if found else 0

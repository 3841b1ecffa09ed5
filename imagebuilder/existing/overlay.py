"""The disk in a compressed qcow2 file as a raw one that unpacks what is read, when it is read.

What is written goes into a qcow2 file beside it. So an image is open at once, however large it
is, and afterwards it is known which clusters have changed. qemu's storage daemon does it, through
FUSE; it and what it has mounted end with the builder, however that ends.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import process
from imagebuilder.disk.image import Packed
from imagebuilder.errors import BuildError
from imagebuilder.existing import qcow2
from imagebuilder.process import Command, Program, Runner
from imagebuilder.sandbox import kernel

DAEMON = "qemu-storage-daemon"
PAUSE, PATIENCE = 0.005, 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A disk of two files: what it was, and what has changed."""

    raw: Path
    base: qcow2.File
    read: os.stat_result  # what the first one was like at the beginning
    changes: Path

    def packed(self) -> Packed:
        """What is compressed already; nobody may write to the disk meanwhile, or later."""
        with self.raw.open("r+b", buffering=0) as raw:
            os.fsync(raw.fileno())  # has the daemon write its tables
        with qcow2.opened(self.changes) as file:
            if file is None:
                raise BuildError("is not what it was made as", where=str(self.changes))
            changed = dict(file.entries())
        others = tuple(number for number, entry in changed.items() if qcow2.has_data(entry))
        kept = qcow2.kept(self.base, changed)
        return Packed(
            name=str(self.base.path),
            file=Path(f"/proc/self/fd/{self.base.fd}"),
            kind=self.base.kind,
            read=self.read,
            kept=kept,
            others=others,
        )


@contextmanager
def opened(image: Path, raw: Path, run: Runner) -> Generator[Overlay | None, None, None]:
    """The disk, to be changed at the new file `raw`; None, and no file, where that cannot be."""
    changes = raw.with_suffix(".changes")
    with ExitStack() as held:
        base = held.enter_context(qcow2.opened(image))
        if base is None or not process.find(DAEMON) or not qcow2.is_compressed(base):
            yield None
            return
        read = os.fstat(base.fd)
        run(Command(("qemu-img", "create", "-q", "-f", "qcow2", str(changes), str(base.size))))
        raw.touch()
        ready = raw.with_suffix(".ready")
        daemon = held.enter_context(process.started(_daemon(image, changes, raw, ready)))
        held.callback(_leave, raw)
        if not _is_ready(daemon, ready):
            _leave(raw)
            raw.unlink()
            yield None
            return
        yield Overlay(raw=raw, base=base, read=read, changes=changes)


def _daemon(image: Path, changes: Path, raw: Path, ready: Path) -> Command:
    base = {"driver": "qcow2", "node-name": "base", "read-only": True, "file": _file(image)}
    unsafe = {"cache": {"no-flush": True}, "discard": "unmap"}  # nobody needs it after a crash
    disk = {"driver": "qcow2", "node-name": "disk", "file": _file(changes), "backing": "base"}
    export = {"type": "fuse", "id": "disk", "node-name": "disk", "mountpoint": str(raw)}
    return Command((
        DAEMON,
        "--blockdev", json.dumps(base),
        "--blockdev", json.dumps(disk | unsafe),
        "--export", json.dumps(export | {"writable": True}),
        "--pidfile", str(ready),
    ))  # fmt: skip


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "filename": str(path.absolute())}


def _is_ready(daemon: Program, ready: Path) -> bool:
    """Wait until it is: it writes its number when all is exported (`qemu-storage-daemon(1)`)."""
    end = time.monotonic() + PATIENCE
    while daemon.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            if ready.read_text().endswith("\n"):
                return True
        time.sleep(PAUSE)
    return False


def _leave(raw: Path) -> None:
    with suppress(OSError):  # it is not mounted
        kernel.unmount(raw)

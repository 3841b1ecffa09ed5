"""The indices that modprobe reads, made anew by depmod for an initrd's modules and new ones.

Only the modules are written out, to a directory of our own: depmod reads files.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.modules import HOME
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.process import Command, Runner

INDEX = "modules."
INPUTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")  # depmod reads these


def depmod(base: Path, release: str) -> Command:
    """The command that indexes the modules of `release` below `base`."""
    return Command(("depmod", "-b", os.fspath(base), release))


def indices(root: Rootfs, release: str, new: Sequence[Entry], run: Runner) -> list[Entry]:
    """Those of the initrd's index files that the new modules change."""
    home = root.real(f"{HOME}/{release}")
    present = [path for path in root.below(home) if path.startswith(f"{home}/{INDEX}")]
    wanted = [path for path in present if path.rpartition("/")[2] not in INPUTS]
    if not wanted:
        return []
    with tempfile.TemporaryDirectory(prefix="imagebuilder-modules-") as name:
        place = Path(name, "usr", HOME, release)
        place.mkdir(parents=True)
        Path(name, "lib").symlink_to("usr/lib")
        for path in root.below(home):
            if stat.S_ISREG(root.files[path].mode):
                _put(place / path.removeprefix(f"{home}/"), root.files[path].content)
        for entry in new:
            _put(place / entry.name.removeprefix(f"{HOME}/{release}/"), entry.content)
        run(depmod(Path(name), release))
        return [
            Entry(name=path, mode=root.files[path].mode, mtime=new[0].mtime, content=content)
            for path in wanted
            if (content := _read(place / path.removeprefix(f"{home}/"))) is not None
            if content != root.files[path].content
        ]


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None

"""Files that a caller names: none of them may have us wait for ever."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

OPEN_FILES = (Path("/dev/stdin"), Path("/dev/fd"), Path("/proc/self/fd"))
OTHER_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
)


def check_file(path: Path) -> None:
    """Raise OSError unless `path` is a file or a block device: nobody waits for others' end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        kind = next((name for tells, name in OTHER_KINDS if tells(mode)), "no file")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read(path: Path) -> bytes:
    """The content of a file, or of a pipe that the caller's shell has opened (`<(...)`).

    Raise OSError as `check_file` does.
    """
    _check_given(path)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The same of UTF-8 text, with lines that end in newlines alone; raise UnicodeDecodeError."""
    _check_given(path)
    return path.read_text(encoding="utf-8")


def _check_given(path: Path) -> None:
    if path not in OPEN_FILES and path.parent not in OPEN_FILES:
        check_file(path)

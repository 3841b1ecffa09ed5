"""What takes how much of an image, for those who want it smaller (`DIB_SHOW_IMAGE_USAGE`)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from imagebuilder.events import Listener, Said
from imagebuilder.options import Request
from imagebuilder.sizes import UNITS, Size

LEAST = 10 * UNITS["MiB"]
BLOCK = 512


def tell(request: Request, tree: Path, listen: Listener) -> None:
    """List the files and directories of 10 MiB or more, or all of them, if that is asked for."""
    full = _is_set(request, "DIB_SHOW_IMAGE_USAGE_FULL")
    if full or _is_set(request, "DIB_SHOW_IMAGE_USAGE"):
        for line in report(measure(tree), least=0 if full else LEAST):
            listen(Said(line))


def report(sizes: Iterable[tuple[str, int]], least: int) -> Iterator[str]:
    """Lines about paths of at least so many bytes, the largest first."""
    yield "image usage, by files and directories with all that is in them:"
    shown = sorted((-size, path) for path, size in sizes if size >= least)
    for negative, path in shown:
        yield f"{Size(-negative)!s:>12}  {path}"


def measure(tree: Path) -> list[tuple[str, int]]:
    """The bytes that each path of a tree takes, a directory's with its content's, like du(1).

    A file of several names counts once, at the first in the order of their names.
    """
    found: list[tuple[str, int]] = []
    _measure(tree, "/", found, set())
    return found


def _measure(path: Path, name: str, found: list[tuple[str, int]], seen: set[int]) -> int:
    status = path.lstat()
    total = 0 if status.st_ino in seen else status.st_blocks * BLOCK
    if stat.S_ISDIR(status.st_mode):
        for each in sorted(path.iterdir()):
            total += _measure(each, f"{name.rstrip('/')}/{each.name}", found, seen)
    elif status.st_nlink > 1:
        seen.add(status.st_ino)
    found.append((name, total))
    return total


def _is_set(request: Request, variable: str) -> bool:
    return request.environment.get(variable, "0") not in ("", "0")

"""What hooks keep below the cache directory by themselves: clones, archives, pip's cache.

    source-repositories/<name>_<digest>   a bare clone, or a file, of the element of that name
    pip/                                  pip's own cache, of the element pip-cache

The names are diskimage-builder's, and whoever made these things also sees to it that they are
sound when they are used. Here they are only counted and kept within the limits.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagebuilder.cache import lock
from imagebuilder.cache.model import Limits
from imagebuilder.sizes import Size

CLONES, PIP = "source-repositories", "pip"
LOCK = "repositories_flock"  # held while clones are fetched and used


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A clone, an archive, or pip's cache."""

    path: Path
    size: Size  # on disk
    used: datetime


def entries(caches: Path) -> tuple[Source, ...]:
    """All of them below the directory of caches, what was not used for longest first."""
    found = []
    for path in (*_in(caches / CLONES), caches / PIP):
        with suppress(OSError):
            statuses = [entry.lstat() for entry in (path, *path.rglob("*"))]
            size = Size(sum(status.st_blocks * 512 for status in statuses))
            used = datetime.fromtimestamp(max(status.st_mtime for status in statuses), UTC)
            found.append(Source(path=path, size=size, used=used))
    return tuple(sorted(found, key=lambda source: (source.used, source.path)))


def prune(caches: Path, limits: Limits) -> tuple[Source, ...]:
    """Remove what was not used for too long, or is too much; no clones while a build uses any."""
    found = entries(caches)
    total, now, removed = sum(int(source.size) for source in found), datetime.now(UTC), []
    with lock.attempt(caches / CLONES / LOCK) as free:
        for source in found:
            unused = free or source.path.name == PIP
            if unused and (_is_old(source, limits, now) or _is_too_much(total, limits)):
                _remove(source.path)
                total -= source.size
                removed.append(source)
    return tuple(removed)


def _is_old(source: Source, limits: Limits, now: datetime) -> bool:
    return limits.max_age is not None and now - source.used > limits.max_age


def _is_too_much(total: int, limits: Limits) -> bool:
    return limits.max_size is not None and total > limits.max_size


def _in(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (path for path in sorted(directory.iterdir()) if path.name != LOCK)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

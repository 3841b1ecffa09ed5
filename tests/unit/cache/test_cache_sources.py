"""Clones, archives and pip's cache are counted and kept within the limits."""

from __future__ import annotations

import fcntl
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from imagebuilder.cache import lock, sources
from imagebuilder.cache.model import Limits
from imagebuilder.sizes import Size

DAY = 86400


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    """A clone used ten days ago, an archive used today, and pip's cache used five days ago."""
    kept = tmp_path / sources.CLONES
    files = {kept / "clone/objects/pack": 10, kept / "archive": 0, tmp_path / "pip/http/page": 5}
    for path, days in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(8192))
        moment = time.time() - days * DAY
        top = kept / path.relative_to(kept).parts[0] if kept in path.parents else tmp_path / "pip"
        for each in (path, *path.parents):
            if each == top or top in each.parents:
                os.utime(each, (moment, moment))
    return tmp_path


def names(found: tuple[sources.Source, ...]) -> list[str]:
    return [source.path.name for source in found]


def test_they_are_listed_by_their_last_use(caches: Path) -> None:
    found = sources.entries(caches)
    assert names(found) == ["clone", "pip", "archive"]
    assert all(source.size >= 8192 for source in found)


def test_what_was_not_used_for_long_goes(caches: Path) -> None:
    limits = Limits(max_size=None, max_age=timedelta(days=7))
    assert names(sources.prune(caches, limits)) == ["clone"]
    assert names(sources.entries(caches)) == ["pip", "archive"]


def test_of_too_much_what_was_not_used_for_longest_goes(caches: Path) -> None:
    newest = sources.entries(caches)[-1]
    removed = sources.prune(caches, Limits(max_size=Size(newest.size), max_age=None))
    assert names(removed) == ["clone", "pip"]


def test_clones_stay_while_a_build_uses_them(caches: Path) -> None:
    held = lock.acquire(caches / sources.CLONES / sources.LOCK, fcntl.LOCK_EX)
    try:
        assert names(sources.prune(caches, Limits(max_size=Size(0), max_age=None))) == ["pip"]
    finally:
        lock.release(held)
    assert names(sources.entries(caches)) == ["clone", "archive"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert sources.entries(tmp_path) == ()
    assert sources.prune(tmp_path, Limits(max_size=Size(0), max_age=None)) == ()
    assert list(tmp_path.iterdir()) == []

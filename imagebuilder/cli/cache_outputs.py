"""Outputs in `imagebuilder cache`: counted, checked and removed with everything else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from imagebuilder.cache.model import Limits
from imagebuilder.cache.outputs import OutputStore, is_equal
from imagebuilder.sizes import Size

DIRECTORY = "outputs"  # in the directory of caches


def du(store: OutputStore) -> None:
    """Say how many there are; files that have other names take no room of their own."""
    if sizes := store.entries():
        print(f"{_count(sizes)}, {Size(sum(sizes.values()))} in {store.root}")


def verify(store: OutputStore) -> int:
    """Read all files, forget what is not as it was, and say so; how many that were."""
    keys = store.entries()
    damaged = [key for key in keys if not _is_whole(store, key)]
    for key in damaged:
        store.remove(key)
    if keys:
        print(f"{_count(keys)} checked, {len(damaged)} changed since and forgotten")
    return len(damaged)


def prune(store: OutputStore, limits: Limits) -> None:
    """Forget what is too old or too much."""
    if removed := store.prune(limits, time.time()):
        print(f"{_count(removed)} removed")


def _is_whole(store: OutputStore, key: str) -> bool:
    found = store.find(key)
    if found is None:
        return False
    pairs = [(file, store.link(key, number)) for number, file in enumerate(found.files)]
    return all(is_equal(file, link if link.exists() else Path(file.path)) for file, link in pairs)


def _count(keys: Iterable[str]) -> str:
    number = len(list(keys))
    return f"{number} set{'' if number == 1 else 's'} of outputs"

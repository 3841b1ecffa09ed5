"""Keeps the store within its limits: what was not used for long goes first.

A layer without the one below it is of no use, so a layer goes only after all that stand on it,
and whoever uses a layer uses those below.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from imagebuilder.cache import history, lock
from imagebuilder.cache.model import DamagedError, Layer, Limits, UnusableError, is_key
from imagebuilder.cache.store import Store


def prune(
    store: Store, limits: Limits, entries: Sequence[Layer] | None = None
) -> tuple[Layer, ...]:
    """Remove what is damaged, out of reach, too old or too much; return the layers removed.

    What somebody holds stays. Remains of builders that died are removed as well, and what is left
    is settled: a build that ends with this keeps its layers over a restart. `entries` are those of
    the store, if they are known already.
    """
    if not store.writable:
        return ()
    now = datetime.now(UTC)
    found = store.entries() if entries is None else entries
    layers = {layer.key: layer for layer in found}
    borne = Counter(layer.parent for layer in found)
    total, removed = sum(int(layer.size) for layer in found), []
    for layer in order(found):
        too_much = limits.max_size is not None and total > limits.max_size
        too_old = limits.max_age is not None and now - layer.used > limits.max_age
        doomed = too_much or too_old or not is_reachable(layer, layers)
        if doomed and not borne[layer.key] and store.discard(layer.key):
            del layers[layer.key]
            total -= layer.size
            borne[layer.parent] -= 1
            removed.append(layer)
    _clean(store, {layer.key for layer in found}, limits, now)
    store.settle(tuple(layers.values()))
    return tuple(removed)


def order(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Who goes first: the unreachable, then who was used least recently; each before its parent."""
    by_key = {layer.key: layer for layer in layers}
    used = {layer.key: layer.used for layer in layers}
    chains = {layer.key: _below(layer, by_key) for layer in layers}
    for key, chain in chains.items():
        for other in chain:
            used[other.key] = max(used[other.key], by_key[key].used)

    def rank(layer: Layer) -> tuple[bool, datetime, int, str]:
        depth = len(chains[layer.key])
        return is_reachable(layer, by_key), used[layer.key], -depth, layer.key

    return tuple(sorted(layers, key=rank))


def is_reachable(layer: Layer, layers: Mapping[str, Layer]) -> bool:
    """Whether all the layers that this one was made on are still there."""
    return not any(
        other.parent and (other.parent not in layers or layers[other.parent].stamp != other.below)
        for other in (layer, *_below(layer, layers))
    )


def _below(layer: Layer, layers: Mapping[str, Layer]) -> tuple[Layer, ...]:
    """The layers below this one, the nearest first, as far as they are there."""
    chain: list[Layer] = []
    while (below := layers.get(layer.parent)) and below not in chain:
        chain.append(below)
        layer = below
    return tuple(chain)


def _clean(store: Store, sound: Container[str], limits: Limits, now: datetime) -> None:
    """Remove what no layer needs: damaged entries, remains of the dead, free locks, old names."""
    every = store.keys()
    for key in every:
        if key not in sound:
            store.discard(key, still=partial(_is_useless, store, key, limits))
    store.sweep()
    if limits.max_age is not None:
        history.forget(store, now - limits.max_age)
    kept = set(store.keys())
    for path in tuple((store.root / "locks").iterdir()):
        key = path.name.partition(".")[0]
        if is_key(key) and key not in kept:
            _unlock(path)


def _is_useless(store: Store, key: str, limits: Limits) -> bool:
    """Whether an entry is damaged, or of another's format where nothing at all is to be kept."""
    try:
        store.read(key)
    except DamagedError:
        return True
    except UnusableError:
        return limits.max_size == 0
    return False


def _unlock(path: Path) -> None:
    """Remove the file of a lock that nobody has; who waits for it notices."""
    with suppress(OSError):
        fd = lock.acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        lock.release(fd)

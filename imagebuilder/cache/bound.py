"""Keeps layers and downloads together within the limits: what was not used for longest goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from imagebuilder.cache import prune as layers
from imagebuilder.cache.downloads import Download, Downloads
from imagebuilder.cache.model import Layer, Limits
from imagebuilder.cache.store import Store
from imagebuilder.sizes import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What had to go."""

    layers: tuple[Layer, ...]
    downloads: tuple[Download, ...]


def prune(store: Store, downloads: Downloads, limits: Limits) -> Removed:
    """Remove what is too old or too much from both, and what builders that died left behind."""
    kept = store.entries()
    share = share_of_layers(kept, downloads.entries(), limits)
    removed = layers.prune(store, replace(limits, max_size=share), kept)
    left = None
    if limits.max_size is not None:
        taken = sum(layer.size for layer in kept) - sum(layer.size for layer in removed)
        left = Size(max(0, limits.max_size - taken))
    return Removed(
        layers=removed, downloads=prune_downloads(downloads, replace(limits, max_size=left))
    )


def share_of_layers(
    kept: tuple[Layer, ...], files: tuple[Download, ...], limits: Limits
) -> Size | None:
    """How much room layers get, if of both kinds what was used least recently goes first."""
    if limits.max_size is None:
        return None
    room, share = int(limits.max_size), 0
    of_layers = [(layer.used, int(layer.size), True) for layer in kept]
    of_files = [(file.used, int(file.size), False) for file in files]
    for _, size, is_layer in sorted((*of_layers, *of_files), reverse=True):
        room -= size
        if room >= 0 and is_layer:
            share += size
    return Size(share)


def prune_downloads(downloads: Downloads, limits: Limits) -> tuple[Download, ...]:
    """Remove downloads that are too old, or too much."""
    if not downloads.writable:
        return ()
    now = datetime.now(UTC)
    entries = downloads.entries()
    total = sum(int(entry.size) for entry in entries)
    removed = []
    for entry in entries:
        old = limits.max_age is not None and now - entry.used > limits.max_age
        if (old or (limits.max_size is not None and total > limits.max_size)) and (
            downloads.discard(entry.digest)
        ):
            total -= entry.size
            removed.append(entry)
    downloads.sweep()
    return tuple(removed)

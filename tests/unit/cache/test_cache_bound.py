"""Layers and downloads share one bound, and what was not used for longest goes first."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from imagebuilder.cache import bound
from imagebuilder.cache.downloads import Downloads
from imagebuilder.cache.model import Limits, Origin
from imagebuilder.cache.store import Store
from imagebuilder.sizes import Size

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "layers")


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    made = Downloads(tmp_path / "downloads")
    made.make()
    return made


def download(downloads: Downloads, name: str, *, age: int) -> str:
    """A file of 1 MiB that was last used `age` seconds ago."""
    source = downloads.root.with_name(name)
    source.write_bytes(name.encode().ljust(MIB))
    digest = downloads.keep(source)
    os.utime(downloads.path(digest), (time.time() - age, 0))
    return digest


def layer(store: Store, name: str, *, age: int) -> str:
    """A layer of a bit more than 1 MiB that was last used `age` seconds ago."""
    with store.draft() as draft:
        (draft.tree / "file").write_bytes(os.urandom(MIB))
        made = store.commit(draft, hashlib.sha256(name.encode()).hexdigest(), Origin(step=name))
    assert made
    os.utime(made.tree.parent / "used", (time.time() - age,) * 2)
    return made.key


def limited(size: float) -> Limits:
    return Limits(max_size=Size(size * MIB), max_age=None)


def test_nothing_goes_that_fits(store: Store, downloads: Downloads) -> None:
    kept = layer(store, "root", age=100), download(downloads, "a", age=1000)
    done = bound.prune(store, downloads, limited(2.5))
    assert (done.layers, done.downloads) == ((), ())
    assert (store.keys(), downloads.digests()) == ((kept[0],), (kept[1],))


def test_the_least_recently_used_download_goes_first(store: Store, downloads: Downloads) -> None:
    old = download(downloads, "old", age=1000)
    new = download(downloads, "new", age=10)
    done = bound.prune(store, downloads, limited(1.5))
    assert [each.digest for each in done.downloads] == [old]
    assert downloads.digests() == (new,)


def test_an_old_download_goes_before_a_new_layer(store: Store, downloads: Downloads) -> None:
    download(downloads, "old", age=1000)
    kept = layer(store, "root", age=10)
    bound.prune(store, downloads, limited(1.5))
    assert (store.keys(), downloads.digests()) == ((kept,), ())


def test_an_old_layer_goes_before_a_new_download(store: Store, downloads: Downloads) -> None:
    layer(store, "root", age=1000)
    kept = download(downloads, "new", age=10)
    bound.prune(store, downloads, limited(1.5))
    assert (store.keys(), downloads.digests()) == ((), (kept,))


def test_what_is_too_old_goes_whatever_its_size(store: Store, downloads: Downloads) -> None:
    download(downloads, "old", age=3 * 86400)
    new = download(downloads, "new", age=86400)
    limits = Limits(max_size=None, max_age=timedelta(days=2))
    assert len(bound.prune(store, downloads, limits).downloads) == 1
    assert downloads.digests() == (new,)


def test_a_store_that_is_not_there_is_not_made(store: Store, tmp_path: Path) -> None:
    absent = Downloads(tmp_path / "absent")
    assert bound.prune(store, absent, limited(0)).downloads == ()
    assert not absent.root.exists()

"""What the last build was made from, and what has changed since."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagebuilder.cache import history
from imagebuilder.cache.store import Store

STEPS = {
    "root": {"variable DIB_RELEASE": "bookworm"},
    "install": {"hook install.d/50-x of element y": "0f" * 32, "architecture": "amd64"},
}


@pytest.mark.parametrize("name", ["web", "out/web", "..", "x" * 300, "caf\udce9"])
def test_what_is_remembered_is_recalled(store: Store, name: str) -> None:
    history.remember(store, name, STEPS)
    assert history.recall(store, name) == STEPS
    assert list(history.recall(store, name)["install"]) == list(STEPS["install"])
    assert len(list((store.root / "names").iterdir())) == 1


def test_the_last_build_replaces_the_one_before(store: Store) -> None:
    history.remember(store, "web", STEPS)
    history.remember(store, "web", {"root": {}})
    assert history.recall(store, "web") == {"root": {}}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"root": 3}', '{"root": [["a"]]}', "\xff"])
def test_what_cannot_be_read_is_not_recalled(store: Store, text: str) -> None:
    history.remember(store, "web", STEPS)
    (store.root / "names" / "web.json").write_bytes(text.encode("latin-1"))
    assert history.recall(store, "web") == {}


def test_nothing_is_known_of_a_name_that_was_never_built(store: Store) -> None:
    assert history.recall(store, "web") == {}


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history.remember(Store(tmp_path / "file"), "web", STEPS)
    assert (tmp_path / "file").read_text() == ""


def test_old_names_are_forgotten(store: Store) -> None:
    history.remember(store, "old", STEPS)
    history.remember(store, "new", STEPS)
    os.utime(store.root / "names" / "old.json", (0, 0))
    history.forget(store, datetime.now(UTC) - timedelta(days=1))
    assert [path.name for path in (store.root / "names").iterdir()] == ["new.json"]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": "1"}, {"a": "1"}, ()),
        ({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, ("a changed", "b changed")),
        ({"a": "1"}, {"b": "1", "a": "1"}, ("b is new",)),
        ({"a": "1", "b": "1"}, {"b": "1"}, ("a is gone",)),
        ({"a": "1", "b": "1"}, {"b": "1", "a": "1"}, ("b comes at another place",)),
        ({}, {}, ()),
    ],
)
def test_a_miss_is_explained_by_what_changed(
    before: dict[str, str], now: dict[str, str], said: tuple[str, ...]
) -> None:
    assert history.explain(before, now) == said

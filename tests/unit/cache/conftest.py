"""A store in `tmp_path`, and layers to fill it with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.cache.model import Layer, Origin
from imagebuilder.cache.store import Store
from imagebuilder.events import Event, Said

FILES = {"etc/hostname": "web\n", "usr/bin/tool": "#!/bin/sh\n", "var/empty": ""}
Keep = Callable[..., Layer]


class Told(list[str]):
    """A listener that remembers what it was told."""

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Said)
        self.append(event.text)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(tmp_path: Path, told: Told) -> Store:
    return Store(tmp_path / "cache" / "layers", told)


@pytest.fixture
def keep(store: Store) -> Keep:
    """Keep a small layer: keep("a", parent=layer, files={...}) has the key key_of("a")."""

    def keep(name: str, parent: Layer | None = None, files: Mapping[str, str] = FILES) -> Layer:
        with store.draft() as draft:
            for path, text in files.items():
                file = draft.tree / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            origin = Origin(step=name, parent=parent, inputs={"variable X": name})
            layer = store.commit(draft, hashlib.sha256(name.encode()).hexdigest(), origin)
        assert layer is not None
        return layer

    return keep

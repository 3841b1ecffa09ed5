"""What the last build of each image was made from, so that a miss can be explained."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from imagebuilder.cache.store import Store
from imagebuilder.errors import ConfigError, SpaceError

LONGEST = 200  # characters of a file name

Inputs = Mapping[str, str]  # in the order in which they went into a key


def remember(store: Store, name: str, steps: Mapping[str, Inputs]) -> None:
    """Write down the inputs of each step of a build of the image `name`, if that can be done."""
    document = {step: [list(pair) for pair in inputs.items()] for step, inputs in steps.items()}
    with suppress(OSError, ConfigError, SpaceError):
        store.make()
        path = _path(store, name)
        temporary = path.with_name(f".{secrets.token_hex(8)}.new")
        try:
            temporary.write_text(json.dumps(document, indent=1))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def recall(store: Store, name: str) -> dict[str, dict[str, str]]:
    """The inputs of each step of the last build of `name`; empty if nothing is known of it."""
    try:
        document = json.loads(_path(store, name).read_bytes())
        return {step: _inputs(pairs) for step, pairs in document.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def explain(before: Inputs, now: Inputs) -> tuple[str, ...]:
    """In what the inputs of a step differ from those it had before, in their order."""
    changed = [
        f"{name} changed" if name in before else f"{name} is new"
        for name, value in now.items()
        if before.get(name) != value
    ]
    gone = [f"{name} is gone" for name in before if name not in now]
    if not changed and not gone and list(before) != list(now):
        name = next(new for new, old in zip(now, before, strict=True) if new != old)
        return (f"{name} comes at another place",)
    return (*changed, *gone)


def forget(store: Store, before: datetime) -> None:
    """Remove what was written down earlier than `before`, and remains of writers that died."""
    with suppress(OSError):
        for path in tuple((store.root / "names").iterdir()):
            if path.lstat().st_mtime < before.timestamp():
                path.unlink()


def _inputs(pairs: object) -> dict[str, str]:
    if not isinstance(pairs, list):
        raise TypeError("not a list")
    return {str(name): str(value) for name, value in pairs}


def _path(store: Store, name: str) -> Path:
    """The file for an image, whose name may be a path, and long."""
    plain = quote(os.fsencode(name), safe="")
    if len(plain) > LONGEST:
        plain = hashlib.sha256(os.fsencode(name)).hexdigest()
    return store.root / "names" / f"{plain}.json"

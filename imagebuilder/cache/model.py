"""What the stores are about, as values: a layer, what it came from, how much may be kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from imagebuilder.errors import ConfigError
from imagebuilder.sizes import UNITS, Size

FORMAT = 1  # whatever it is, `meta.json` has a digest of itself
MAX_SIZE = "IMAGEBUILDER_CACHE_MAX_SIZE"
MAX_AGE = "IMAGEBUILDER_CACHE_MAX_AGE"
DEFAULT_SIZE = Size(20 * UNITS["GiB"])
DEFAULT_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the store; `tree` is an overlayfs upper directory, not to be written to.

    Two builds of one key may differ in their bytes. `stamp` (the SHA-256 of the manifest) tells
    them apart, and `below` is the stamp of the very parent that this layer was made on.
    """

    key: str
    tree: Path
    step: str
    created: datetime
    used: datetime
    size: Size  # on disk
    inodes: int
    parent: str
    inputs: Mapping[str, str]
    stamp: str
    below: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a new layer came from; `inputs` are, in their order, what its key was made from.

    They are written down to explain misses: use digests for what is long or secret.
    """

    step: str
    parent: Layer | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A place for a layer that is being made: an upper directory, and overlayfs's work directory.

    Both are on the store's filesystem. `work` is empty and of no interest afterwards.
    """

    tree: Path
    work: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept, and how long after its last use; None: no limit."""

    max_size: Size | None = DEFAULT_SIZE
    max_age: timedelta | None = timedelta(days=DEFAULT_DAYS)


class Earlier(NamedTuple):
    """An output that was made before, the index of its `clusters`, and what was `seen` of it."""

    image: Path
    clusters: Path
    seen: tuple[int, int, int]


class UnusableError(Exception):
    """An entry is no hit, for the reason given."""


class AbsentError(UnusableError):
    """There is no such entry."""


class ForeignError(UnusableError):
    """An entry may be good for others: it has a newer format, or other user ids."""


class DamagedError(UnusableError):
    """An entry is good for nobody; `faults` say what is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__(", ".join(faults))
        self.faults = faults


def seen(status: os.stat_result) -> tuple[int, int, int]:
    """What is another as soon as somebody writes to a file: its size, and its times in ns."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_key(text: str) -> bool:
    """Whether this is a key: 64 hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def checked_key(key: str) -> str:
    """The key itself; raise ValueError if it is none."""
    if not is_key(key):
        raise ValueError(f"not the key of a layer: {key!r}")
    return key


def limits(environment: Mapping[str, str]) -> Limits:
    """What the variables say, or the defaults; raise ConfigError for what is no size or number."""
    size, days = environment.get(MAX_SIZE), environment.get(MAX_AGE)
    return Limits(
        max_size=Size.parse(size, where=MAX_SIZE) if size else DEFAULT_SIZE,
        max_age=parse_days(days, where=MAX_AGE) if days else timedelta(days=DEFAULT_DAYS),
    )


def parse_days(text: str, *, where: str = "") -> timedelta:
    """Read a number of days, decimals allowed; raise ConfigError otherwise."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text.strip()):
        raise ConfigError(
            f"not a number of days: {text!r}", where=where, hint="write it like 30 or 0.5"
        )
    return timedelta(days=float(text))

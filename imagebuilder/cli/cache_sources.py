"""Clones, archives and pip's cache in `imagebuilder cache`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from imagebuilder.cache import sources
from imagebuilder.cache.model import Limits
from imagebuilder.cache.sources import Source
from imagebuilder.cli.table import age, table
from imagebuilder.sizes import Size


def ls(caches: Path, arguments: argparse.Namespace) -> int:
    """List them, those used last first."""
    found, now = tuple(reversed(sources.entries(caches))), datetime.now(UTC)
    if arguments.json:
        print(json.dumps([_document(each) for each in found], indent=2))
    elif found:
        rows = [(str(each.path), str(each.size), age(each.used, now)) for each in found]
        print(table(("SOURCE", "SIZE", "LAST USED"), rows))
    else:
        print(f"no sources in {caches}")
    return 0


def du(caches: Path) -> None:
    """Say how much room they take, if there are any."""
    if found := sources.entries(caches):
        print(f"{_total(found)} in {caches}")


def prune(caches: Path, limits: Limits) -> None:
    """Remove what is too old or too much."""
    if removed := sources.prune(caches, limits):
        print(f"{_total(removed)} removed")


def _total(found: Sequence[Source]) -> str:
    number = len(found)
    return f"{number} source{'' if number == 1 else 's'}, {Size(sum(each.size for each in found))}"


def _document(source: Source) -> dict[str, str | int]:
    return {
        "path": str(source.path),
        "size": int(source.size),
        "used": source.used.isoformat(timespec="seconds"),
    }

"""What `imagebuilder cache` says about downloads, which are many and have no step or parent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from imagebuilder.cache.downloads import Download, Downloads
from imagebuilder.cli.table import age, table
from imagebuilder.sizes import Size

SHORT = 12  # digits of a digest that are shown


def ls(downloads: Downloads, arguments: argparse.Namespace) -> int:
    """List them, those used last first."""
    found = tuple(reversed(downloads.entries()))
    if arguments.json:
        print(json.dumps([_document(downloads, each) for each in found], indent=2))
    elif found:
        now = datetime.now(UTC)
        rows = [(d.digest[:SHORT], str(d.size), age(d.used, now), d.url or "-") for d in found]
        print(table(("SHA256", "SIZE", "LAST USED", "FROM"), rows))
    else:
        print(f"no downloads in {downloads.root}")
    return 0


def du(downloads: Downloads) -> None:
    """Say how much room they take, if there are any."""
    if found := downloads.entries():
        print(f"{total(found)} in {downloads.root}")


def verify(downloads: Downloads) -> int:
    """Read all of them, and remove what is damaged; how many were."""
    known = downloads.digests()
    damaged = [digest for digest in known if downloads.find(digest) is None]
    if known:
        print(f"{_count(known)} checked, {len(damaged)} damaged{' and removed' * bool(damaged)}")
    return len(damaged)


def total(found: Sequence[Download]) -> str:
    """How many, and how much."""
    return f"{_count(found)}, {Size(sum(download.size for download in found))}"


def _count(things: Sequence[object]) -> str:
    return f"{len(things)} download{'' if len(things) == 1 else 's'}"


def _document(downloads: Downloads, download: Download) -> dict[str, str | int]:
    return {
        "sha256": download.digest,
        "size": int(download.size),
        "used": download.used.isoformat(timespec="seconds"),
        "url": download.url,
        "path": str(downloads.path(download.digest)),
    }

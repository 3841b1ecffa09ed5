"""A disk as it is while it is made: one sparse file, and what still lies in files of the tree.

Most bytes of a disk are contents of files. Who compresses the disk reads them where they are,
so that they need no room twice, and no time to get there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Borrowed(NamedTuple):
    """Bytes of a disk that are to be read from another file."""

    start: int  # on the disk
    length: int
    path: str
    offset: int  # in that file


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A disk's file, with holes where bytes are borrowed; these in order, none over another."""

    file: Path
    borrowed: tuple[Borrowed, ...] = ()

"""What clusters of disks were compressed to before, so that it need not be done again.

Beside an image that was made lies an index of it:

    MAGIC, a line that names the compressor
    32 bytes SHA-256 of a cluster, 8 bytes offset and 4 bytes length in the image; and so on

Compressed bytes are taken only from the same compressor at the same level, so an image has the
same bytes with a memory and without. Whoever hands an image in has to know that it is as it was
when it was made.

The image that a disk was read from is another matter: its clusters are taken as somebody has
compressed them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder.errors import BuildError

MAGIC = b"imagebuilder clusters 1\n"
ROW = struct.Struct(">32sQI")
Place = tuple[int, int]  # offset and length, in bytes
Identity = tuple[int, int, int]  # inode, size, time of the last change in ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The qcow2 image that a disk was read from; of it, what clusters are compressed to."""

    image: Path
    identity: Identity  # of the file when it was read
    kind: str  # "zlib" or "zstd"
    places: Mapping[bytes, Place]  # by digest


@dataclass(frozen=True, slots=True)
class Memory:
    """Earlier images with their indices, the one to be preferred last; `made` are new indices."""

    earlier: tuple[tuple[Path, Path], ...] = ()
    made: dict[Path, bytes] = field(default_factory=dict)  # by the output's path
    given: Given | None = None


@dataclass(frozen=True, slots=True)
class Recollection:
    """What open images have; threads may share it."""

    places: Mapping[bytes, tuple[int, int, int]]  # by digest: descriptor, offset, length

    def find(self, digest: bytes, target: memoryview) -> int:
        """Read what a cluster was compressed to into `target`; its length, 0 if not known."""
        fd, offset, length = self.places.get(digest, (0, 0, 0))
        if length and os.preadv(fd, [target[:length]], offset) == length:
            return length
        return 0


def encode(compressor: str, rows: Iterable[tuple[bytes, Place]]) -> bytes:
    """An index of clusters, given as digest and place."""
    head = MAGIC + compressor.encode() + b"\n"
    return head + b"".join(ROW.pack(digest, *place) for digest, place in rows)


def decode(index: bytes, compressor: str) -> dict[bytes, Place]:
    """The places by digest; none if the index is another compressor's, or damaged."""
    head = MAGIC + compressor.encode() + b"\n"
    rows = index.removeprefix(head)
    if not index.startswith(head) or len(rows) % ROW.size:
        return {}
    return {digest: (offset, length) for digest, offset, length in ROW.iter_unpack(rows)}


@contextmanager
def recalled(memory: Memory, compressor: str) -> Generator[Recollection, None, None]:
    """What earlier images have; what cannot be read is not known."""
    places: dict[bytes, tuple[int, int, int]] = {}
    with ExitStack() as stack:
        for image, index in memory.earlier:
            with suppress(OSError):
                known = decode(index.read_bytes(), compressor)
                file = stack.enter_context(image.open("rb", buffering=0))
                places |= {digest: (file.fileno(), *place) for digest, place in known.items()}
        if memory.given:
            places |= _taken(memory.given, stack)
        yield Recollection(places)


def identity(status: os.stat_result) -> Identity:
    """What of a file is another one if its content is."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _taken(given: Given, stack: ExitStack) -> dict[bytes, tuple[int, int, int]]:
    """What it has, nothing if it has changed; one that does so meanwhile is a BuildError."""
    try:
        file = stack.enter_context(given.image.open("rb", buffering=0))
    except OSError:
        return {}
    if identity(os.fstat(file.fileno())) != given.identity:
        return {}
    stack.callback(_check_unchanged, file.fileno(), given)
    return {digest: (file.fileno(), *place) for digest, place in given.places.items()}


def _check_unchanged(fd: int, given: Given) -> None:
    if identity(os.fstat(fd)) != given.identity:
        raise BuildError("became another one while it was read", where=str(given.image))

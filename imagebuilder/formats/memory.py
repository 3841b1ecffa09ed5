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

from imagebuilder.cache.model import Earlier, seen
from imagebuilder.disk.image import Packed, Place
from imagebuilder.errors import BuildError

MAGIC = b"imagebuilder clusters 1\n"
ROW = struct.Struct(">32sQI")
Taken = tuple[int, int, int]  # descriptor, offset, length


@dataclass(frozen=True, slots=True)
class Memory:
    """Earlier images, the one to be preferred last; `made` are new indices."""

    earlier: tuple[Earlier, ...] = ()
    made: dict[Path, bytes] = field(default_factory=dict)  # by the output's path


@dataclass(frozen=True, slots=True)
class Recollection:
    """What open images have; threads may share it."""

    places: Mapping[bytes, Taken]  # by digest
    kept: Mapping[int, Taken]  # by the cluster's number
    others: tuple[int, ...] = ()  # with `kept`, all clusters that the disk has

    def find(self, key: bytes | int, target: memoryview) -> int:
        """Read what a cluster was compressed to into `target`; its length, 0 if not known."""
        known = self.kept.get(key) if isinstance(key, int) else self.places.get(key)
        fd, offset, length = known or (0, 0, 0)
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
def recalled(
    memory: Memory, compressor: str, packed: Packed | None = None
) -> Generator[Recollection, None, None]:
    """What earlier images have; what cannot be read, or was changed meanwhile, is not known.

    The file of `packed` must not have changed until the end; raise BuildError.
    """
    places: dict[bytes, Taken] = {}
    with ExitStack() as stack:
        for image, index, then in memory.earlier:
            with suppress(OSError):
                known = decode(index.read_bytes(), compressor)
                file = stack.enter_context(image.open("rb", buffering=0))
                if seen(os.fstat(file.fileno())) != then:
                    continue
                places |= {digest: (file.fileno(), *place) for digest, place in known.items()}
        if packed is None:
            yield Recollection(places, {})
            return
        source = stack.enter_context(packed.file.open("rb", buffering=0)).fileno()
        stack.callback(_check_unchanged, source, packed)
        places |= {digest: (source, *place) for digest, place in packed.contents.items()}
        kept = {number: (source, *place) for number, place in packed.kept.items()}
        yield Recollection(places, kept, packed.others)


def _check_unchanged(fd: int, packed: Packed) -> None:
    before, now = packed.read, os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise BuildError("was changed while an image was made of it", where=packed.name)

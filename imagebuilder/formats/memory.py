"""What clusters of disks were compressed to before, so that it need not be done again.

Beside an image that was made lies an index of it:

    MAGIC, a line that names the compressor, the number of rows of the first kind in 4 bytes
    32 bytes of a cluster's origin, 32 bytes SHA-256 of the cluster; and so on
    32 bytes SHA-256 of a cluster, 8 bytes offset and 4 bytes length in the image; and so on

Compressed bytes are taken only from the same compressor at the same level, so an image has the
same bytes with a memory and without. Whoever hands an image in has to know that it is as it was
when it was made.

A cluster whose origin is known is not even read. The origin tells of each file its inode number,
size, mtime and change time, which nothing but the clock sets: no file that was there when the
index was made, and none that is made later, has those of another one.

The image that a disk was read from is another matter: its clusters are taken as somebody has
compressed them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder.cache.model import Earlier, seen
from imagebuilder.disk.image import CLUSTER, Packed, Place
from imagebuilder.errors import BuildError

MAGIC = b"imagebuilder clusters 2\n"
COUNT = struct.Struct(">I")
ORIGIN = struct.Struct(">32s32s")
ROW = struct.Struct(">32sQI")
Taken = tuple[int, int, int]  # descriptor, offset, length


@dataclass(frozen=True, slots=True)
class Memory:
    """Earlier images, the one to be preferred last; `made` are new indices.

    `stamps` are those of the tree's files, and of their copies that later builds will find.
    """

    earlier: tuple[Earlier, ...] = ()
    made: dict[Path, bytes] = field(default_factory=dict)  # by the output's path
    stamps: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recollection:
    """What open images have; threads may share it."""

    places: Mapping[bytes, Taken]  # by digest
    digests: Mapping[bytes, bytes]  # by origin
    kept: Mapping[int, Taken]  # by the cluster's number
    others: tuple[int, ...] = ()  # with `kept`, all clusters that the disk has

    def find(self, key: bytes | int | None, target: memoryview) -> int:
        """Read what a cluster was compressed to into `target`; its length, 0 if not known.

        The key is its digest, or its number if nobody has changed it.
        """
        known = self.kept.get(key) if isinstance(key, int) else self.places.get(key or b"")
        fd, offset, length = known or (0, 0, 0)
        if length and os.preadv(fd, [target[:length]], offset) == length:
            return length
        return 0

    def together(self, numbers: Sequence[int]) -> Taken | None:
        """Where compressed clusters that nobody has changed lie one after the other, if they do."""
        first = self.kept.get(numbers[0])
        if not first:
            return None
        file, offset, _ = first
        end = offset
        for number in numbers:
            source, start, length = self.kept.get(number, (-1, 0, 0))
            if source != file or start != end or length >= CLUSTER:
                return None
            end += length
        return file, offset, end - offset


@dataclass(frozen=True, slots=True)
class Index:
    """Where an image has clusters, by their digests, and digests of clusters by their origins."""

    places: dict[bytes, Place] = field(default_factory=dict)
    digests: dict[bytes, bytes] = field(default_factory=dict)


def encode(compressor: str, index: Index) -> bytes:
    """The index as a file."""
    return b"".join((
        MAGIC + compressor.encode() + b"\n",
        COUNT.pack(len(index.digests)),
        *(ORIGIN.pack(*pair) for pair in index.digests.items()),
        *(ROW.pack(digest, *place) for digest, place in index.places.items()),
    ))


def decode(content: bytes, compressor: str) -> Index:
    """The index in a file; an empty one if that is another compressor's, or damaged."""
    head = MAGIC + compressor.encode() + b"\n"
    if not content.startswith(head) or len(content) < len(head) + COUNT.size:
        return Index()
    begin = len(head) + COUNT.size
    end = begin + COUNT.unpack_from(content, len(head))[0] * ORIGIN.size
    rows = content[end:]
    if len(content) < end or len(rows) % ROW.size:
        return Index()
    return Index(
        places={digest: (offset, length) for digest, offset, length in ROW.iter_unpack(rows)},
        digests=dict(ORIGIN.iter_unpack(content[begin:end])),
    )


@contextmanager
def recalled(
    memory: Memory, compressor: str, packed: Packed | None = None
) -> Generator[Recollection, None, None]:
    """What earlier images have; what cannot be read, or was changed meanwhile, is not known.

    The file of `packed` must not have changed until the end; raise BuildError.
    """
    places: dict[bytes, Taken] = {}
    digests: dict[bytes, bytes] = {}
    with ExitStack() as stack:
        for image, index, then in memory.earlier:
            with suppress(OSError):
                known = decode(index.read_bytes(), compressor)
                file = stack.enter_context(image.open("rb", buffering=0))
                if seen(os.fstat(file.fileno())) != then:
                    continue
                fd = file.fileno()
                places |= {digest: (fd, *place) for digest, place in known.places.items()}
                digests |= known.digests
        if packed is None:
            yield Recollection(places, digests, {})
            return
        source = stack.enter_context(packed.file.open("rb", buffering=0)).fileno()
        stack.callback(_check_unchanged, source, packed)
        places |= {digest: (source, *place) for digest, place in packed.contents.items()}
        kept = {number: (source, *place) for number, place in packed.kept.items()}
        yield Recollection(places, digests, kept, packed.others)


def _check_unchanged(fd: int, packed: Packed) -> None:
    before, now = packed.read, os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise BuildError("was changed while an image was made of it", where=packed.name)

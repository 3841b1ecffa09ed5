"""LVM2 metadata, byte by byte: physical volume labels and the text that describes a group.

Written here rather than by pvcreate, vgcreate and lvcreate, which want root, block devices and,
for the last, device-mapper in the host's kernel. The format is LVM2's own: `lib/label/label.h`,
`lib/format_text/layout.h` and `export.c`; lvm2's `pvck --dump` shows it.
"""

from __future__ import annotations

import hashlib
import string
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID, uuid5

from imagebuilder.disk import volumes
from imagebuilder.disk.model import Disk, Kind, LogicalVolume, PhysicalVolume
from imagebuilder.disk.volumes import Allotted, Run
from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size

SECTOR = 512  # what LVM counts in, whatever sectors the disk has
AREA = 4096  # where the metadata area begins
HEADER = 512  # of the metadata area, before the text
START = Size(2**20)  # where the first extent lies, unless somebody wants it elsewhere
EXTENT = Size(4 * 2**20)
SEED = 0xF597A6CF
MAGIC = b" LVM2 x[5A%r0N*>"
DIGITS = string.digits + string.ascii_letters
GROUPS = (6, 4, 4, 4, 4, 4, 6)  # how the 32 characters of an id are hyphenated
VERSION, IN_USE = 2, 1  # of the physical volume header's extension


def pieces(
    disk: Disk, made: Allotted, regions: Mapping[str, tuple[int, int]]
) -> tuple[tuple[int, bytes], ...]:
    """Labels and metadata as (offset, bytes); `regions` are each physical volume's offset and size.

    Raise ConfigError if there are more volumes than the metadata area has room for.
    """
    written = text(disk, made, {name: size for name, (_, size) in regions.items()})
    found: list[tuple[int, bytes]] = []
    for volume in _physical(disk, made):
        offset, size = regions[volume.name]
        area = int(volume.start) - AREA
        if 2 * len(written) > area - HEADER:  # LVM keeps the old text while it writes the new one
            raise ConfigError(
                f"the description of its volumes has {len(written)} bytes, too many for an area"
                f" of {area}",
                where=f"volume group {made.group.name}",
                hint="give its physical volumes the option --dataalignment with more, like 8MiB",
            )
        found.append((offset + SECTOR, _label(volume, size)))
        found.append((offset + AREA, _area_header(area, written) + written))
    return tuple(found)


def text(disk: Disk, made: Allotted, sizes: Mapping[str, int]) -> bytes:
    """The group as LVM reads it back; `sizes` are its physical volumes' in bytes."""
    names = {volume.name: f"pv{number}" for number, volume in enumerate(_physical(disk, made))}
    group = made.group
    lines = (
        f"{group.name} {{",
        f'id = "{hyphened(group.uuid)}"',
        "seqno = 1",
        'format = "lvm2"',
        'status = ["RESIZEABLE", "READ", "WRITE"]',
        "flags = []",
        *_tags(group.tags),
        f"extent_size = {group.extent // SECTOR}",
        "max_lv = 0",
        "max_pv = 0",
        "metadata_copies = 0",
        "physical_volumes {",
        *(line for pv in _physical(disk, made) for line in _physical_lines(pv, made, names, sizes)),
        "}",
        *_volume_section(disk, made, names),
        "}",
        'contents = "Text Format Volume Group"',
        "version = 1",
        'description = ""',
        'creation_host = "imagebuilder"',
        "creation_time = 0",
    )
    return "".join(f"{line}\n" for line in lines).encode() + b"\n\0"


def hyphened(uuid: UUID) -> str:
    """The id that LVM shows: 32 letters and digits made from `uuid`, with hyphens."""
    plain, start, parts = identity(uuid), 0, []
    for length in GROUPS:
        parts.append(plain[start : start + length])
        start += length
    return "-".join(parts)


def identity(uuid: UUID) -> str:
    """The 32 letters and digits that LVM has for a UUID."""
    number = int.from_bytes(hashlib.sha256(uuid.bytes).digest())
    characters = []
    for _ in range(sum(GROUPS)):
        number, digit = divmod(number, len(DIGITS))
        characters.append(DIGITS[digit])
    return "".join(characters)


def checksum(content: bytes) -> int:
    """LVM's CRC-32: zlib's polynomial, with another seed and not inverted at the end."""
    return zlib.crc32(content, SEED ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _physical(disk: Disk, made: Allotted) -> Sequence[PhysicalVolume]:
    known = {volume.name: volume for volume in disk.physical_volumes}
    return [known[name] for name in made.group.bases]


def _label(volume: PhysicalVolume, size: int) -> bytes:
    """The label, the header with its lists of areas, and the header's extension."""
    data = struct.pack("<QQQQ", volume.start, 0, 0, 0)
    area = struct.pack("<QQQQ", AREA, volume.start - AREA, 0, 0)
    extension = struct.pack("<IIQQ", VERSION, IN_USE, 0, 0)
    header = identity(volume.uuid).encode() + struct.pack("<Q", size) + data + area + extension
    rest = (struct.pack("<I8s", 32, b"LVM2 001") + header).ljust(SECTOR - 20, b"\0")
    return struct.pack("<8sQI", b"LABELONE", 1, checksum(rest)) + rest


def _area_header(area: int, written: bytes) -> bytes:
    location = struct.pack("<QQII", HEADER, len(written), checksum(written), 0)
    rest = (struct.pack("<16sIQQ", MAGIC, 1, AREA, area) + location).ljust(HEADER - 4, b"\0")
    return struct.pack("<I", checksum(rest)) + rest


def _physical_lines(
    volume: PhysicalVolume, made: Allotted, names: Mapping[str, str], sizes: Mapping[str, int]
) -> Iterator[str]:
    yield f"{names[volume.name]} {{"
    yield f'id = "{hyphened(volume.uuid)}"'
    yield 'status = ["ALLOCATABLE"]'
    yield "flags = []"
    yield f"dev_size = {sizes[volume.name] // SECTOR}"
    yield f"pe_start = {volume.start // SECTOR}"
    yield f"pe_count = {made.counts[volume.name]}"
    yield "}"


def _volume_section(disk: Disk, made: Allotted, names: Mapping[str, str]) -> Iterator[str]:
    mine = [volume for volume in disk.volumes if volume.group == made.group.name]
    if mine:
        yield "logical_volumes {"
        for volume in mine:
            yield from _volume_lines(disk, made, volume, names)
        yield from _hidden(made, mine, names)
        yield "}"


def _volume_lines(
    disk: Disk, made: Allotted, volume: LogicalVolume, names: Mapping[str, str]
) -> Iterator[str]:
    segments = _segments(disk, made, volume, names)
    yield from _section(volume.name, volume.uuid, segments, volume.tags)


def _segments(
    disk: Disk, made: Allotted, volume: LogicalVolume, names: Mapping[str, str]
) -> Sequence[Sequence[str]]:
    match volume.kind:
        case Kind.LINEAR:
            return _linear(made.runs[volume.name], names)
        case Kind.THIN_POOL:
            return [_pool(disk, made, volume)]
        case Kind.THIN:
            return [_thin(disk, made, volume)]


def _hidden(
    made: Allotted, volumes_: Iterable[LogicalVolume], names: Mapping[str, str]
) -> Iterator[str]:
    visible = {volume.name for volume in volumes_}
    for name, runs in made.runs.items():
        if name not in visible:
            uuid = uuid5(made.group.uuid, name)
            yield from _section(name, uuid, _linear(runs, names), (), visible=False)


def _section(
    name: str,
    uuid: UUID,
    segments: Sequence[Sequence[str]],
    tags: Sequence[str],
    *,
    visible: bool = True,
) -> Iterator[str]:
    yield f"{name} {{"
    yield f'id = "{hyphened(uuid)}"'
    yield f'status = ["READ", "WRITE"{", " + _quoted("VISIBLE") if visible else ""}]'
    yield "flags = []"
    yield from _tags(tags)
    yield f"segment_count = {len(segments)}"
    for number, lines in enumerate(segments, start=1):
        yield f"segment{number} {{"
        yield from lines
        yield "}"
    yield "}"


def _linear(runs: Sequence[Run], names: Mapping[str, str]) -> list[Sequence[str]]:
    segments: list[Sequence[str]] = []
    start = 0
    for run in runs:
        stripe = f'stripes = ["{names[run.base]}", {run.start}]'
        segments.append((
            *_extents(start, run.count),
            'type = "striped"',
            "stripe_count = 1",
            stripe,
        ))
        start += run.count
    return segments


def _pool(disk: Disk, made: Allotted, pool: LogicalVolume) -> Sequence[str]:
    data = pool.name + volumes.DATA
    size = made.size(data)
    return (
        *_extents(0, size // made.group.extent),
        'type = "thin-pool"',
        f'metadata = "{pool.name}{volumes.METADATA}"',
        f'pool = "{data}"',
        f"transaction_id = {len(volumes.thin(disk, pool))}",
        f"chunk_size = {volumes.chunk(pool, size) // SECTOR}",
        'discards = "passdown"',
        "zero_new_blocks = 1",
    )


def _thin(disk: Disk, made: Allotted, volume: LogicalVolume) -> Sequence[str]:
    pool = disk.volume(volume.pool)
    assert pool is not None
    number = list(volumes.thin(disk, pool)).index(volume)
    return (
        *_extents(0, volumes.virtual_size(volume, made.group) // made.group.extent),
        'type = "thin"',
        f'thin_pool = "{pool.name}"',
        f"transaction_id = {number}",
        f"device_id = {number + 1}",
    )


def _extents(start: int, count: int) -> tuple[str, str]:
    return f"start_extent = {start}", f"extent_count = {count}"


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    return (f"tags = [{', '.join(map(_quoted, tags))}]",) if tags else ()


def _quoted(word: str) -> str:
    return f'"{word}"'

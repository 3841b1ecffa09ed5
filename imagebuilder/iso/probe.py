"""What an ISO image is, whether it is whole, and how it starts.

It comes first, always: xorriso takes a file that is missing, empty or no ISO image at all for a
blank medium, writes to that, and ends with success.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from imagebuilder import given, magic
from imagebuilder.errors import ConfigError
from imagebuilder.iso import eltorito, tables
from imagebuilder.iso.model import BLOCK, SECTOR, BootImage, Iso, Partition, Volume
from imagebuilder.iso.tables import PROTECTIVE, Read

FIRST = 16  # the sector of the first volume descriptor
BOOT, PRIMARY, SUPPLEMENTARY, TERMINATOR = 0, 1, 2, 255
JOLIET = (b"%/@", b"%/C", b"%/E")
EL_TORITO = b"EL TORITO SPECIFICATION"
UDF = (b"NSR02", b"NSR03")
MOST = 64  # descriptors
VOLUME = "the ISO 9660 volume"
PADDING = (300 + 1024) * 2**10  # xorriso's, and what fills isohybrid's last cylinder
PADDED = FIRST * SECTOR  # a partition that begins before this is that of the volume


def probe(path: Path) -> Iso:
    """Look at an image; raise ConfigError unless it is a whole ISO 9660 image."""
    try:
        given.check_file(path)
        size = path.stat().st_size
        with path.open("rb") as file:

            def read(start: int, length: int) -> bytes:
                file.seek(start)
                return file.read(length)

            return _probe(path, size, read)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or ""
        raise ConfigError(what, where=str(path)) from error


def _probe(path: Path, size: int, read: Read) -> Iso:
    where = str(path)
    _check_kind(size, read, where)
    descriptors = _descriptors(read, where)
    _check_udf(read, len(descriptors), where)
    volume = _volume(next(d for d in descriptors if d[0] == PRIMARY))
    joliet = next((d for d in descriptors if d[0] == SUPPLEMENTARY and d[88:91] in JOLIET), None)
    root = read(volume.root * SECTOR, SECTOR)
    if len(root) < SECTOR:
        raise ConfigError("truncated: the root directory lies behind the end", where=where)
    catalog = _catalog(descriptors)
    images = _images(catalog, read, where)
    partitions = (*tables.mbr(read), *tables.gpt(read))
    end = _check_size(volume, images, partitions, size, where)
    return Iso(
        path=path,
        size=size,
        volume=volume,
        rock_ridge=b"SP\x07\x01\xbe\xef" in root[:512],
        joliet=_extent(joliet) if joliet else None,
        images=images,
        partitions=partitions,
        mbr=tables.loader(read),
        apple=tables.apple(read),
        end=end,
        grown=_grown(volume, partitions),
        catalog=catalog,
    )


def _check_kind(size: int, read: Read, where: str) -> None:
    if not size:
        raise ConfigError("empty file", where=where)
    if read(FIRST * SECTOR + 1, 5) == b"CD001" and size < (FIRST + 1) * SECTOR:
        raise ConfigError(f"too small for ISO 9660 ({size} bytes)", where=where)
    if read(FIRST * SECTOR + 1, 5) != b"CD001":
        found = magic.describe(read(0, magic.HEAD))
        if found == "a UDF image":
            raise ConfigError("holds a UDF file system, which cannot be re-written", where=where)
        if size < (FIRST + 1) * SECTOR and found == "unknown data":
            raise ConfigError(f"too small for ISO 9660 ({size} bytes)", where=where)
        what = f"not an ISO 9660 image (no CD001 at byte 32769; looks like {found})"
        raise ConfigError(what, where=where)


def _descriptors(read: Read, where: str) -> list[bytes]:
    found: list[bytes] = []
    for number in range(FIRST, FIRST + MOST):
        sector = read(number * SECTOR, SECTOR)
        if len(sector) < SECTOR or sector[1:6] != b"CD001":
            what = f"truncated: volume descriptor set has no terminator (sector {number})"
            raise ConfigError(what, where=where)
        if sector[0] == TERMINATOR:
            break
        found.append(sector)
    if not any(sector[0] == PRIMARY for sector in found):
        raise ConfigError("has no primary volume descriptor", where=where)
    return found


def _check_udf(read: Read, count: int, where: str) -> None:
    after = range(FIRST + count + 1, FIRST + count + 9)
    if any(read(sector * SECTOR + 1, 5) in UDF for sector in after):
        hint = "only the ISO 9660 part would be kept"
        what = "holds a UDF file system, which cannot be re-written"
        raise ConfigError(what, where=where, hint=hint)


def _volume(sector: bytes) -> Volume:
    root, root_size = _extent(sector)
    return Volume(
        id=_text(sector, 40, 72),
        system=_text(sector, 8, 40),
        publisher=_text(sector, 318, 446),
        preparer=_text(sector, 446, 574),
        application=_text(sector, 574, 702),
        created=_text(sector, 813, 829),
        modified=_text(sector, 830, 846),
        blocks=struct.unpack_from("<I", sector, 80)[0],
        root=root,
        root_size=root_size,
        application_use=_text(sector, 883, 1395).strip("\0 "),
    )


def _extent(descriptor: bytes) -> tuple[int, int]:
    """The sector and the bytes of a descriptor's root directory."""
    sector, _, size = struct.unpack_from("<III", descriptor, 158)
    return sector, size


def _text(sector: bytes, begin: int, end: int) -> str:
    return sector[begin:end].decode("latin-1").rstrip()


def _catalog(descriptors: list[bytes]) -> int:
    """The sector of the boot catalog; 0 without one."""
    for sector in descriptors:
        if sector[0] == BOOT and sector[7:30] == EL_TORITO:
            return int.from_bytes(sector[71:75], "little")
    return 0


def _images(place: int, read: Read, where: str) -> tuple[BootImage, ...]:
    if not place:
        return ()
    catalog = read(place * SECTOR, SECTOR)
    if len(catalog) < SECTOR:
        what = "truncated: the El Torito boot catalog lies behind the end"
        raise ConfigError(what, where=where)
    try:
        return eltorito.images(catalog)
    except ValueError as error:
        what = f"damaged El Torito boot catalog: {error}"
        raise ConfigError(what, where=where) from error


def _check_size(
    volume: Volume,
    images: tuple[BootImage, ...],
    partitions: tuple[Partition, ...],
    size: int,
    where: str,
) -> int:
    """The byte behind the last that anything names; raise ConfigError if the file has less."""
    ends = {VOLUME: volume.blocks * SECTOR}
    ends |= {f"El Torito image {n}": i.start + i.size for n, i in enumerate(images, 1)}
    ends |= {
        f"{part.table} partition {part.number}": part.end
        for part in partitions
        if part.type != f"0x{PROTECTIVE:02x}"
    }
    missing = {name: end for name, end in ends.items() if end > size}
    if missing and not _is_padding(missing, partitions, size):
        name, end = next(iter(missing.items()))
        what = f"truncated: {name} ends at byte {end}, the file has {size}"
        hint = "download it again, and compare its checksum"
        raise ConfigError(what, where=where, hint=hint)
    return max(ends.values())


def _is_padding(missing: Mapping[str, int], partitions: tuple[Partition, ...], size: int) -> bool:
    """Whether what is missing may be padding: less than there can be, and inside of nothing else.

    Whether files lie there is for those who read the directories. A GPT has a copy at the end.
    """
    whole = {f"MBR partition {part.number}" for part in partitions if part.start * BLOCK < PADDED}
    return (
        max(missing.values()) - size <= PADDING
        and {*missing} <= {VOLUME, *whole}
        and not any(part.table == "GPT" for part in partitions)
    )


def _grown(volume: Volume, partitions: tuple[Partition, ...]) -> bool:
    """Whether the volume has outgrown its partitions: it was changed in place."""
    ends = [part.end for part in partitions if part.type != f"0x{PROTECTIVE:02x}"]
    ends += [part.end for part in partitions]
    return bool(ends) and volume.blocks * SECTOR > max(ends)

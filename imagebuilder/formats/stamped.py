"""Takes the time of day and random numbers out of images that qemu-img has made.

Equal disks then give equal files. A disk's identity follows from its content, so that images of
different content never have the same: VirtualBox refuses a second disk with an id that it knows.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import NAMESPACE_DNS, UUID, uuid5

from imagebuilder import holes
from imagebuilder.formats.model import Output

NAMESPACE = uuid5(NAMESPACE_DNS, "imagebuilder")
BLOCK = 2**16

# Virtual Hard Disk Image Format Specification 1.0: the footer, and its copy in front.
FOOTER = 512
FOOTER_TIME, FOOTER_SUM, FOOTER_ID = 24, 64, 68
DYNAMIC, FOOTER_TYPE = 3, 60
EPOCH_2000 = 946684800

VDI_IDS = (392, 408)  # VirtualBox, VDICore.h: uuidCreate and uuidModify of a version 1.1 header

# VMware, Virtual Disk Format 5.0: where the header tells of the descriptor, in sectors.
VMDK_DESCRIPTOR = struct.Struct("<QQ")
VMDK_DESCRIPTOR_AT = 28
SECTOR = 512

# [MS-VHDX]: two headers, a region table that knows the metadata, and the log.
VHDX_HEADERS = (64 * 2**10, 128 * 2**10)
VHDX_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")
VHDX_HEADER_SIZE = 4096
VHDX_REGIONS, VHDX_ENTRY, VHDX_ITEM = (
    192 * 2**10,
    struct.Struct("<16sQII"),
    struct.Struct("<16sII8x"),
)
VHDX_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
VHDX_PAGE_83 = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")


def settle(driver: str, target: Path, output: Output) -> None:
    """Make the image depend on its content, the output's name and its epoch alone."""
    if driver in SETTLERS:
        with target.open("r+b") as file:
            SETTLERS[driver](file, output)


def _vhd(file: BinaryIO, output: Output) -> None:
    size = file.seek(0, 2)
    footer = bytearray(_read(file, size - FOOTER, FOOTER))
    places = [size - FOOTER]
    if struct.unpack_from(">I", footer, FOOTER_TYPE)[0] == DYNAMIC:
        places.append(0)
    seconds = max(0, output.epoch - EPOCH_2000)
    struct.pack_into(">I", footer, FOOTER_TIME, min(seconds, 2**32 - 1))
    footer[FOOTER_ID : FOOTER_ID + 16] = bytes(16)
    for identity in (None, _identity):
        if identity:
            footer[FOOTER_ID : FOOTER_ID + 16] = identity(file).bytes
        footer[FOOTER_SUM : FOOTER_SUM + 4] = bytes(4)
        struct.pack_into(">I", footer, FOOTER_SUM, ~sum(footer) & 0xFFFFFFFF)
        for place in places:
            _write(file, place, bytes(footer))


def _vdi(file: BinaryIO, output: Output) -> None:
    del output
    for place in VDI_IDS:
        _write(file, place, bytes(16))
    identity = _identity(file)
    for number, place in enumerate(VDI_IDS):
        _write(file, place, uuid5(identity, str(number)).bytes_le)


def _vmdk(file: BinaryIO, output: Output) -> None:
    """The descriptor names the file, which had no name when it was written.

    qemu writes a shorter descriptor over a longer one now and then: after the first zero byte
    there are remains, which depend on the random CID.
    """
    start, length = VMDK_DESCRIPTOR.unpack(_read(file, VMDK_DESCRIPTOR_AT, VMDK_DESCRIPTOR.size))
    room = length * SECTOR
    text = _read(file, start * SECTOR, room).partition(b"\0")[0]
    name = output.path.name.replace('"', "_").encode(errors="replace")
    text = re.sub(
        rb'(?m)^(RW \d+ \w+ )"[^"\n]*"', lambda found: found[1] + b'"' + name + b'"', text
    )
    zeroed = re.sub(rb"(?m)^CID=\w+", b"CID=00000000", text)
    _write(file, start * SECTOR, zeroed.ljust(room, b"\0"))
    # 0 and -1 have meanings of their own
    number = max(1, _identity(file).int % 0xFFFFFFFE)
    text = zeroed.replace(b"CID=00000000", b"CID=%08x" % number, 1)
    _write(file, start * SECTOR, text.ljust(room, b"\0"))


def _vhdx(file: BinaryIO, output: Output) -> None:
    del output
    headers = [list(VHDX_HEADER.unpack(_read(file, at, VHDX_HEADER.size))) for at in VHDX_HEADERS]
    latest = max(header[2] for header in headers)  # they are counted from a random number on
    for header in headers:
        header[2] = 2 if header[2] == latest else 1
    length, log = headers[0][8:10]
    _write(file, log, bytes(length))  # everything in it has been carried out
    page_83 = _page_83(file)
    _write(file, page_83, bytes(16))
    for identity in (None, _identity):
        made = identity(file) if identity else None
        for at, header in zip(VHDX_HEADERS, headers, strict=True):
            _write_vhdx_header(file, at, header, made)
        if made:
            _write(file, page_83, uuid5(made, "page 83").bytes_le)


def _write_vhdx_header(
    file: BinaryIO, at: int, header: Sequence[object], identity: UUID | None
) -> None:
    names = ("file", "data")
    ids = [uuid5(identity, name).bytes_le if identity else bytes(16) for name in names]
    signature, _, sequence, *_, log_version, version, length, log = header
    rest = (*ids, bytes(16), log_version, version, length, log)
    content = VHDX_HEADER.pack(signature, 0, sequence, *rest).ljust(VHDX_HEADER_SIZE, b"\0")
    checksum = struct.pack("<I", _crc32c(content))
    _write(file, at, content[:4] + checksum + content[8:])


def _page_83(file: BinaryIO) -> int:
    """Where the id of the virtual disk is in the file."""
    regions = dict(_vhdx_entries(file, VHDX_REGIONS, 8, VHDX_ENTRY))
    start = regions[VHDX_METADATA]
    items = dict(_vhdx_entries(file, start, 10, VHDX_ITEM))
    return start + items[VHDX_PAGE_83]


def _vhdx_entries(
    file: BinaryIO, table: int, count_at: int, entry: struct.Struct
) -> Iterator[tuple[UUID, int]]:
    """What a table of regions or of metadata lists: ids and places."""
    header = 16 if entry is VHDX_ENTRY else 32
    (count,) = struct.unpack("<H", _read(file, table + count_at, 2))
    for number in range(count):
        fields = entry.unpack(_read(file, table + header + number * 32, entry.size))
        yield UUID(bytes_le=fields[0]), fields[1]


SETTLERS: Mapping[str, Callable[[BinaryIO, Output], None]] = {
    "vpc": _vhd,
    "vdi": _vdi,
    "vmdk": _vmdk,
    "vhdx": _vhdx,
}


def _identity(file: BinaryIO) -> UUID:
    """An id that only files of equal content have."""
    file.flush()
    digest = hashlib.sha256()
    for offset, content in holes.filled(file.fileno(), BLOCK):
        digest.update(offset.to_bytes(8))
        digest.update(content)
    return uuid5(NAMESPACE, digest.hexdigest())


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _write(file: BinaryIO, start: int, content: bytes) -> None:
    file.seek(start)
    file.write(content)


def _crc32c(content: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

"""System use entries of directory records (SUSP 1.12, RRIP 1.12): names, modes, owners, links."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagebuilder.iso.model import SECTOR

Read = Callable[[int, int], bytes]
ROOT, PARENT, CURRENT, CONTINUES = 0x08, 0x04, 0x02, 0x01
MODIFY = 0x02
LONG_TIME = 0x80
SHARING = b"SP\x07\x01\xbe\xef"
MOST = 1000  # continuation areas, against circles


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What Rock Ridge says of one record; what it does not say is None or empty."""

    name: str = ""
    target: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    links: int = 1
    mtime: int | None = None
    rdev: tuple[int, int] = (0, 0)
    child: int = 0  # the sector of a directory that was moved elsewhere
    moved: bool = False
    size: int | None = None  # of the content before zisofs


def extras(area: bytes, read: Read) -> Extras:
    """Read the system use area of a record; its continuations are read through `read`."""
    fields: dict[bytes, list[bytes]] = {}
    for name, body, _ in entries(area, 0, read):
        fields.setdefault(name, []).append(body)
    mode, links, uid, gid = _posix(fields)
    return Extras(
        name=_name(fields.get(b"NM", [])),
        target=_target(fields.get(b"SL", [])),
        mode=mode,
        links=links,
        uid=uid,
        gid=gid,
        mtime=_modified(fields),
        rdev=_device(fields),
        child=struct.unpack_from("<I", fields[b"CL"][0])[0] if b"CL" in fields else 0,
        moved=b"RE" in fields,
        size=_unpacked(fields),
    )


def skipped(area: bytes) -> int:
    """How many bytes of every area are not SUSP's: the root's first entry (SP) says it."""
    at = area.find(SHARING)
    return area[at + 6] if at >= 0 else 0


def when(date: bytes) -> int:
    """Seconds since 1970 of a directory record's date (ECMA-119, 9.1.5)."""
    year, month, day, hour, minute, second, zone = struct.unpack("<6Bb", date)
    try:
        then = datetime(1900 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return 0
    return int((then - timedelta(minutes=15 * zone)).timestamp())


def entries(
    area: bytes, place: int, read: Read, left: int = MOST
) -> Iterator[tuple[bytes, bytes, int]]:
    """The entries of an area that lies at `place`: name, body, and where the body lies."""
    at = 0
    following: tuple[int, int] | None = None
    while at + 4 <= len(area) and (length := area[at + 2]) >= 4:
        name, body = area[at : at + 2], area[at + 4 : at + length]
        if name == b"ST":
            break
        if name == b"CE" and len(body) >= 24:
            sector, offset, size = (struct.unpack_from("<I", body, each)[0] for each in (0, 8, 16))
            following = (sector * SECTOR + offset, size)
        else:
            yield name, body, place + at + 4
        at += length
    if following and left:
        yield from entries(read(*following), following[0], read, left - 1)


def _posix(fields: Mapping[bytes, list[bytes]]) -> tuple[int | None, int, int, int]:
    body = fields.get(b"PX", [b""])[0]
    if len(body) < 32:
        return None, 1, 0, 0
    mode, links, uid, gid = (struct.unpack_from("<I", body, at)[0] for at in (0, 8, 16, 24))
    return mode, links, uid, gid


def _name(bodies: list[bytes]) -> str:
    return b"".join(body[1:] for body in bodies if body).decode(errors="surrogateescape")


def _target(bodies: list[bytes]) -> str:
    parts: list[str] = []
    going_on = False
    for body in bodies:
        place = 1
        while place + 2 <= len(body):
            flags, length = body[place], body[place + 1]
            text = body[place + 2 : place + 2 + length].decode(errors="surrogateescape")
            special = {ROOT: "", PARENT: "..", CURRENT: "."}.get(flags & 14, text)
            if going_on:
                parts[-1] += special
            else:
                parts.append(special)
            going_on = bool(flags & CONTINUES)
            place += 2 + length
    return "/" if parts == [""] else "/".join(parts)


def _modified(fields: Mapping[bytes, list[bytes]]) -> int | None:
    for body in fields.get(b"TF", []):
        flags = body[0]
        if flags & MODIFY and not flags & LONG_TIME:
            place = 1 + 7 * (flags & 1)
            if len(body) >= place + 7:
                return when(body[place : place + 7])
    return None


def _device(fields: Mapping[bytes, list[bytes]]) -> tuple[int, int]:
    body = fields.get(b"PN", [b""])[0]
    if len(body) < 16:
        return (0, 0)
    high, low = struct.unpack_from("<I", body)[0], struct.unpack_from("<I", body, 8)[0]
    return (high, low) if high else (low >> 8, low & 0xFF)


def _unpacked(fields: Mapping[bytes, list[bytes]]) -> int | None:
    body = fields.get(b"ZF", [b""])[0]
    return int(struct.unpack_from("<I", body, 4)[0]) if len(body) >= 12 else None

"""Members of a tar stream, with their headers as they are (POSIX, pax, "ustar Interchange Format").

Most members of an image pass through a change untouched. Taking them apart and putting them
together again, as Python's tarfile does, costs more than all other programs together.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BLOCK = 512
EXTENDED, GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
PIECE = 2**18


@dataclass(frozen=True, slots=True)
class Raw:
    """One member: its name and, if it is a link, what it is a link to; all of its headers."""

    name: str
    link: str
    head: bytes
    size: int

    def parsed(self) -> tarfile.TarInfo:
        """The member as tarfile knows it, without content."""
        with tarfile.open(fileobj=io.BytesIO(self.head + bytes(2 * BLOCK)), mode="r:") as archive:
            member = archive.next()
        assert member
        return member

    @property
    def padding(self) -> int:
        """The zeros behind its content."""
        return -self.size % BLOCK


Read = Callable[[int], bytes]


def members(read: Read) -> Iterator[Raw]:
    """All members; who gets one reads its content and padding before the next; raise TarError."""
    while (header := _read(read, BLOCK)) != bytes(BLOCK):
        head, extra = [header], dict[str, bytes]()
        while (kind := header[156:157]) in (EXTENDED, GLOBAL, LONG_NAME, LONG_LINK):
            size = _number(header[124:136])
            payload = _read(read, size + -size % BLOCK)
            extra |= _extra(kind, payload[:size])
            header = _read(read, BLOCK)
            head += [payload, header]
        yield _member(header, b"".join(head), extra)


def _read(read: Read, length: int) -> bytes:
    found = read(length)
    if len(found) < length:
        raise tarfile.ReadError("truncated")
    return found


def copied(read: Read, write: Callable[[bytes], object], member: Raw) -> None:
    """Pass the content of a member on, padding included; raise TarError if it is cut off."""
    left = member.size + member.padding
    while left:
        piece = read(min(left, PIECE))
        if not piece:
            raise tarfile.ReadError("truncated")
        write(piece)
        left -= len(piece)


def _member(header: bytes, head: bytes, extra: dict[str, bytes]) -> Raw:
    name, prefix = header[:100].rstrip(b"\0"), header[345:500].rstrip(b"\0")
    if prefix and header[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    name = extra.get("path", name)
    link = extra.get("linkpath", header[157:257].rstrip(b"\0"))
    size = int(extra["size"]) if "size" in extra else _number(header[124:136])
    has_content = header[156:157] in (b"0", b"\0", b"7")
    hard = header[156:157] == b"1"
    return Raw(_text(name), _text(link) if hard else "", head, size if has_content else 0)


def _extra(kind: bytes, payload: bytes) -> dict[str, bytes]:
    if kind == LONG_NAME:
        return {"path": payload.rstrip(b"\0")}
    if kind == LONG_LINK:
        return {"linkpath": payload.rstrip(b"\0")}
    return dict(_records(payload)) if kind == EXTENDED else {}


def _records(payload: bytes) -> Iterator[tuple[str, bytes]]:
    """The records of a pax header: a length in decimal, a space, key=value, a newline."""
    place = 0
    while place < len(payload):
        space = payload.index(b" ", place)
        end = place + int(payload[place:space])
        key, _, value = payload[space + 1 : end - 1].partition(b"=")
        yield key.decode(errors="surrogateescape"), value
        place = end


def _number(field: bytes) -> int:
    """A number in octal, or in base 256 as GNU tar has it."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 ") or b"0", 8)


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")

"""The archive that a Debian package is (deb(5)): a few members, one after another."""

from __future__ import annotations

from collections.abc import Sequence

from imagebuilder import magic
from imagebuilder.errors import ConfigError

MAGIC = b"!<arch>\n"
HEADER, END = 60, b"`\n"
Member = tuple[str, bytes]


def read(data: bytes, where: str) -> list[Member]:
    """The members, in their order; raise ConfigError if it is no such archive, or cut off."""
    if not data.startswith(MAGIC):
        what = f"not a Debian package (looks like {magic.describe(data[: magic.HEAD])})"
        raise ConfigError(what, where=where)
    members, place = [], len(MAGIC)
    while place < len(data):
        header = data[place : place + HEADER]
        size = header[48:58].strip()
        if len(header) < HEADER or header[58:] != END or not size.isdigit():
            raise ConfigError(f"damaged: no member begins at byte {place}", where=where)
        begin = place + HEADER
        content = data[begin : begin + int(size)]
        if len(content) < int(size):
            what = f"truncated: a member ends at byte {begin + int(size)}, the file has {len(data)}"
            raise ConfigError(what, where=where)
        members.append((header[:16].decode(errors="replace").rstrip(" ").rstrip("/"), content))
        place = begin + int(size) + int(size) % 2
    return members


def write(members: Sequence[Member], epoch: int) -> bytes:
    """The archive, as dpkg-deb writes it."""
    pieces = [MAGIC]
    for name, content in members:
        fields = f"{name:<16}{epoch:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}"
        pieces += [fields.encode(), END, content, b"\n" * (len(content) % 2)]
    return b"".join(pieces)

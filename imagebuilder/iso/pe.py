"""Whether a program for UEFI is signed: PE format, "Optional Header Data Directories"."""

from __future__ import annotations

import struct

HEADER, OPTIONAL = 0x3C, 24
DIRECTORIES = {0x10B: 96, 0x20B: 112}  # where they begin, by the magic of PE32 and PE32+
CERTIFICATES = 4
HEAD = 4096


def is_signed(head: bytes) -> bool | None:
    """Whether what begins so has a table of certificates; None if it is no such program."""
    try:
        (start,) = struct.unpack_from("<I", head, HEADER)
        if not head.startswith(b"MZ") or head[start : start + 4] != b"PE\0\0":
            return None
        (magic,) = struct.unpack_from("<H", head, start + OPTIONAL)
        place = start + OPTIONAL + DIRECTORIES[magic] + 8 * CERTIFICATES
        offset, size = struct.unpack_from("<II", head, place)
    except (struct.error, KeyError):
        return None
    return bool(offset and size)

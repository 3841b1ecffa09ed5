"""What a kind of compression can do, as a value, and how data can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class TruncatedError(Exception):
    """The data ends before its format says so."""


class DamagedError(Exception):
    """The data is not what its format allows; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One compressed piece: what was in it, and how many bytes of the input it took."""

    content: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One kind of compression.

    `unpack(data, start)` reads the piece that begins at `start`. `pack(content, like)` compresses
    in the dialect of `like`, an older piece of the same kind (or in the usual one, if that is
    empty). `objection(data, start)` says why Linux would not read that piece, or nothing.
    """

    name: str
    magic: bytes
    unpack: Callable[[bytes, int], Unpacked]
    pack: Callable[[bytes, bytes], bytes]
    library: str = ""  # a shared library that must be there
    objection: Callable[[bytes, int], str] = lambda _data, _start: ""

"""Shared libraries of the host, opened when first needed."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache

from imagebuilder.errors import ToolMissingError

Signature = tuple[type | None, tuple[type, ...]]  # what a function gives, and what it takes
PACKAGES: Mapping[str, str] = {
    "libzstd.so.1": "libzstd1",
    "liblz4.so.1": "liblz4-1",
    "liblzo2.so.2": "liblzo2-2",
}


def opened(name: str, signatures: Mapping[str, Signature]) -> ctypes.CDLL:
    """The library with these functions declared; raise ToolMissingError if it is not there."""
    library = _loaded(name)
    for function, (result, arguments) in signatures.items():
        member = getattr(library, function)
        member.restype, member.argtypes = result, arguments
    return library


def check(name: str) -> None:
    """Raise ToolMissingError if the library is not there."""
    _loaded(name)


@cache
def _loaded(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise ToolMissingError(
            f"{name} is not installed",
            hint=f"Debian and Ubuntu have it in {PACKAGES.get(name, name)}",
        ) from error

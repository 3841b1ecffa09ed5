"""Sizes in bytes that print and parse as people write them."""

from __future__ import annotations

import re

from imagebuilder.errors import ConfigError

UNITS = {
    "": 1, "B": 1,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip


class Size(int):
    """A number of bytes. Arithmetic gives plain ints; wrap again to print."""

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Size:
        """Read `1.5 GiB`, `512MiB`, `10GB` or plain bytes; raise ConfigError otherwise.

        The units are diskimage-builder's: with an `i` they count in 1024s, without in 1000s.
        """
        match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) ?([KMGT]?i?B?)", text.strip())
        if not match or match[2] not in UNITS:
            raise ConfigError(
                f"not a size: {text!r}", where=where, hint="write it like 512MiB or 2GiB"
            )
        whole, _, part = match[1].partition(".")
        return cls(int(whole + part) * UNITS[match[2]] // 10 ** len(part))

    def up_to(self, step: int) -> Size:
        """The next multiple of `step`, or itself."""
        return Size(-(-self // step) * step)

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self >= UNITS[unit]:
                return f"{self / UNITS[unit]:.4g} {unit}"
        return f"{int(self)} B"

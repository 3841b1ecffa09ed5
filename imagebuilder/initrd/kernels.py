"""The kernel that lies beside an initrd, by the names that distributions and builds give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from imagebuilder.initrd.modules import SETUP

PAIRS = (  # an initrd's name, and that of its kernel
    (r"(.+)\.initramfs", r"\1.kernel"),
    (r"(.+)\.initrd", r"\1.vmlinuz"),
    (r"initrd\.img-(.+)", r"vmlinuz-\1"),
    (r"initramfs-(.+)\.img", r"vmlinuz-\1"),
    (r"initrd.*|initramfs.*", "linux"),
    (r"initrd.*|initramfs.*", "vmlinuz"),
    (r"initrd.*|initramfs.*", "linux26"),
)
HEAD = 0x206


def beside(initrd: Path) -> Path | None:
    """The kernel for x86 that belongs to an initrd, if it lies in the same directory."""
    return next((path for path in _candidates(initrd) if _is_kernel(path)), None)


def _candidates(initrd: Path) -> Iterator[Path]:
    for pattern, kernel in PAIRS:
        if found := re.fullmatch(pattern, initrd.name):
            yield initrd.with_name(found.expand(kernel))


def _is_kernel(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)[-len(SETUP) :] == SETUP
    except OSError:
        return False

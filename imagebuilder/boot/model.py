"""What a boot loader wants outside all filesystems, as a frozen value.

A boot loader is a module, found by name among the entry points `imagebuilder.boot`. It has:

    install(tree: Path, disk: Disk, inside: Runner, *, table: str) -> BootBlocks
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BootBlocks:
    """Code for a PC's BIOS: `boot` for the first sector, `core` for the embedding area."""

    boot: bytes = b""
    core: bytes = b""


EMPTY = BootBlocks()

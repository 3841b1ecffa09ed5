"""The commands of xorriso that copy an ISO image with changes, and what it says of one.

`-boot_image any replay` sets up in the copy what the original boots by. It is not enough alone
(xorriso 1.5.4): without `-padding included` it fails on images with HFS+ and loses a partition on
others, and it drops Joliet's tree, and xorriso puts itself down as the preparer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.iso.model import Iso
from imagebuilder.process import Command

FAILED = ("-abort_on", "FAILURE", "-return_with", "SORRY", "32")
JOLIET = ("-joliet", "on", "-compliance", "joliet_long_names:joliet_long_paths")
REPORT = re.compile(
    r"^(El Torito|System area|ISO image|Partition|MBR|GPT|APM|PReP|MIPS|SUN|HP-PA|DEC|Boot record)"
)
PLACES: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(El Torito boot img :.*?) +\d+ +\d+$", r"\1"),
        (r"^(El Torito img blks :\s+\d+) +\d+$", r"\1"),
        (r"^(El Torito catalog +:).*$", r"\1"),
        (r"^(ISO image size/512 +:).*$", r"\1"),
        (r"^(MBR partition +:\s+\d+\s+\S+\s+\S+).*$", r"\1"),
        (r"^((GPT|APM) start and size +:\s+\d+).*$", r"\1"),
        (r"^(GPT lba range +:).*$", r"\1"),
        (r"^(GPT entry array +:).*$", r"\1"),
        (r"^(GPT disk GUID +:).*$", r"\1"),
        (r"^(GPT partition GUID +:\s+\d+) .*$", r"\1"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A file of the host that is to be at `path`; `esp` if it is the appended partition."""

    source: Path
    path: str
    mode: int = 0o444
    mtime: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of an image with changes. `esp` is the new appended partition: number, type, file."""

    iso: Iso
    target: Path
    epoch: int
    puts: tuple[Put, ...] = ()
    directories: tuple[str, ...] = ()
    removals: tuple[str, ...] = ()
    volume_id: str = ""
    esp: tuple[int, str, Path] | None = None


def copy(wanted: Copy) -> Command:
    """The command that writes the copy; the boot set-up is replayed before any file changes."""
    volume = wanted.iso.volume
    argv = (
        "xorriso", *FAILED,
        "-iso_rr_pattern", "off",
        "-disk_pattern", "off",
        "-indev", os.fspath(wanted.iso.path),
        "-outdev", f"stdio:{wanted.target}",
        *(() if wanted.iso.rock_ridge else ("-rockridge", "off")),
        *(JOLIET if wanted.iso.joliet else ()),
        "-compliance", "no_emul_toc",
        "-stdio_sync", "off",  # whoever places the file syncs it, once
        "-padding", "included",
        "-boot_image", "any", "replay",
        *_esp(wanted),
        *(word for path in wanted.removals for word in ("-rm_r", f"/{path}", "--")),
        *(word for path in wanted.directories for word in ("-mkdir", f"/{path}", "--")),
        *(word for put in wanted.puts for word in ("-map", os.fspath(put.source), f"/{put.path}")),
        *_pinned(wanted),
        "-preparer_id", volume.preparer,
        "-volid", wanted.volume_id or volume.id,
        "-commit", "-end",
    )  # fmt: skip
    return Command(argv, env={"SOURCE_DATE_EPOCH": str(wanted.epoch), "HOME": "/nonexistent"})


def report(path: Path) -> Command:
    """The command that says how an image boots."""
    return Command((
        "xorriso",
        "-indev", os.fspath(path),
        "-report_el_torito", "plain",
        "-report_system_area", "plain",
    ))  # fmt: skip


def mkisofs(path: Path) -> Command:
    """The command that says by which options of mkisofs an image could be made to boot so."""
    return Command(("xorriso", "-indev", os.fspath(path), "-report_el_torito", "as_mkisofs"))


def set_up(output: str) -> list[str]:
    """What a report says of the boot set-up, without places and sizes, which may change."""
    lines = [line.rstrip() for line in output.splitlines() if REPORT.match(line)]
    return [_placeless(line) for line in lines if not line.startswith("Boot record")]


def differences(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Lines that only one of two set-ups has, those that are lost first."""
    lost = [f"lost: {line}" for line in before if line not in after]
    return lost + [f"new: {line}" for line in after if line not in before]


def _placeless(line: str) -> str:
    for pattern, replacement in PLACES:
        line = pattern.sub(replacement, line)
    return line


def _esp(wanted: Copy) -> tuple[str, ...]:
    if wanted.esp is None:
        return ()
    number, kind, source = wanted.esp
    return ("-append_partition", str(number), kind, os.fspath(source))


def _pinned(wanted: Copy) -> Iterator[str]:
    """Owner, mode and dates of everything that is new: xorriso takes the caller's and now."""
    rows = [(put.path, f"{put.mode:04o}", put.mtime) for put in wanted.puts]
    rows += [(path, "0555", wanted.epoch) for path in wanted.directories]
    for path, mode, mtime in rows:
        name = f"/{path}"
        yield from ("-chown", "0", name, "--", "-chgrp", "0", name, "--")
        yield from ("-chmod", mode, name, "--", "-alter_date", "b", f"={mtime}", name, "--")

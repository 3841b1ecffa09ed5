"""What two ISO images have different."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.iso.checksums import digest
from imagebuilder.iso.model import Iso, Node, Partition
from imagebuilder.iso.tree import Tree

STRONG = "sha256"
GAP = re.compile(r"Gap\d+")  # xorriso's name for what no partition would cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs: `kind` is "volume", "boot", "added", "removed" or "changed"."""

    kind: str
    what: str
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        values = f": {self.old} -> {self.new}" if self.kind not in ("added", "removed") else ""
        return f"{self.kind}: {self.what}{values}"


def differences(old: Tree, new: Tree) -> list[Difference]:
    """All of them: volume first, then how they boot, then files in order of their paths."""
    return [*_volume(old.iso, new.iso), *_boot(old.iso, new.iso), *_files(old, new)]


def boot_lines(iso: Iso) -> list[str]:
    """How an image can be started, in words."""
    lines = [f"first sector: {iso.mbr or 'nothing that could be started'}"]
    for number, image in enumerate(iso.images, 1):
        who = image.platform.name if image.platform else "unknown platform"
        floppy = ", as a floppy" if image.emulation else ""
        lines.append(
            f"El Torito image {number}: {who}{floppy}, {image.size} bytes at {image.start}"
        )
    for part in iso.partitions:
        name = f" '{part.name}'" if part.name else ""
        active = ", active" if part.active else ""
        lines.append(
            f"{part.table} partition {part.number}: type {part.type}{name}, "
            f"{part.count} blocks at {part.start}{active}{_explained(part)}"
        )
    return lines + ["Apple partition map"] * iso.apple


def _explained(part: Partition) -> str:
    """What a partition is that people take for something else."""
    is_gap = part.table == "GPT" and GAP.fullmatch(part.name)
    return ": what is between others, or padding; nothing starts from it" if is_gap else ""


def _volume(old: Iso, new: Iso) -> Iterator[Difference]:
    for name in ("id", "system", "publisher", "preparer", "application", "created", "modified"):
        before, after = getattr(old.volume, name), getattr(new.volume, name)
        if before != after:
            yield Difference(kind="volume", what=name, old=before, new=after)
    for name in ("size", "rock_ridge"):
        before, after = str(getattr(old, name)), str(getattr(new, name))
        if before != after:
            yield Difference(kind="volume", what=name, old=before, new=after)
    if bool(old.joliet) != bool(new.joliet):
        yield Difference(
            kind="volume", what="Joliet", old=str(bool(old.joliet)), new=str(bool(new.joliet))
        )


def _boot(old: Iso, new: Iso) -> Iterator[Difference]:
    rows = [dict(map(_named, boot_lines(iso))) for iso in (old, new)]
    for name in dict.fromkeys([*rows[0], *rows[1]]):
        before, after = (row.get(name, "nothing") for row in rows)
        if before != after:
            yield Difference(kind="boot", what=name, old=before, new=after)


def _named(line: str) -> tuple[str, str]:
    """What a line is about, and what it says of that."""
    name, _, text = line.partition(": ")
    return name, text or "there"


def _files(old: Tree, new: Tree) -> Iterator[Difference]:
    for path in sorted({*old.nodes, *new.nodes}):
        before, after = old.nodes.get(path), new.nodes.get(path)
        if before is None:
            yield Difference(kind="added", what=path)
        elif after is None:
            yield Difference(kind="removed", what=path)
        elif changed := [*_facts(before, after), *_content(old, new, before, after)]:
            yield Difference(
                kind="changed",
                what=path,
                old=", ".join(was for was, _ in changed),
                new=", ".join(now for _, now in changed),
            )


def _facts(before: Node, after: Node) -> Iterator[tuple[str, str]]:
    rows = (
        (stat.filemode(before.mode), stat.filemode(after.mode)),
        (f"owner {before.uid}:{before.gid}", f"owner {after.uid}:{after.gid}"),
        (before.target, after.target),
    )
    return ((was, now) for was, now in rows if was != now)


def _content(old: Tree, new: Tree, before: Node, after: Node) -> Iterator[tuple[str, str]]:
    if not before.is_file or not after.is_file:
        return
    if before.size != after.size:
        yield f"{before.size} bytes", f"{after.size} bytes"
    elif digest(STRONG, old.pieces(before)) != digest(STRONG, new.pieces(after)):
        yield f"{before.size} bytes", "other bytes"

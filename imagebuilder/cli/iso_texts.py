"""How ISO images are shown: lines for people, documents for programs."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagebuilder.iso import compare, roles
from imagebuilder.iso.model import Iso, Node
from imagebuilder.iso.tree import Tree
from imagebuilder.remaster.iso_diff import Part
from imagebuilder.sizes import Size


def shown(files: Tree) -> list[str]:
    """What there is to say of an image."""
    iso = files.iso
    names = ["Rock Ridge"] * iso.rock_ridge + ["Joliet"] * bool(iso.joliet)
    lines = [
        f"volume id: {iso.volume.id}",
        f"size: {Size(iso.size)} ({iso.size} bytes), {len(files.nodes) - 1} files",
        f"names: {' and '.join(names) or 'ISO 9660 alone, upper-case'}",
        f"created: {date(iso.volume.created)}",
        "",
        *compare.boot_lines(iso),
        "",
        *_aligned([(r.role, r.path, r.note) for r in roles.roles(files)]),
    ]
    if iso.cut:
        lines.append(f"warning: {iso.cut} bytes of padding are missing at its end")
    if iso.grown:
        lines.append("warning: it was modified in place: its partitions end before its volume does")
    return lines


def document(files: Tree) -> dict[str, Any]:
    """The same, for programs."""
    iso = files.iso
    return {
        "path": str(iso.path),
        "size": iso.size,
        "volume": dataclasses.asdict(iso.volume),
        "rock_ridge": iso.rock_ridge,
        "joliet": bool(iso.joliet),
        "grown": iso.grown,
        "cut": iso.cut,
        "files": len(files.nodes) - 1,
        "boot": boot_document(iso),
        "roles": [dataclasses.asdict(role) for role in roles.roles(files)],
        "entries": [dataclasses.asdict(entry) for entry in roles.entries(files)],
    }


def boot_document(iso: Iso) -> dict[str, Any]:
    """How an image boots, for programs."""
    images = [
        {**dataclasses.asdict(i), "platform": i.platform.name.lower() if i.platform else None}
        for i in iso.images
    ]
    return {
        "bootable": iso.bootable,
        "mbr": iso.mbr,
        "images": images,
        "partitions": [dataclasses.asdict(part) for part in iso.partitions],
        "apple": iso.apple,
    }


def listed(node: Node) -> str:
    """A line as `ls -l` writes it."""
    moment = datetime.fromtimestamp(node.mtime, UTC)
    is_link = stat.S_ISLNK(node.mode)
    name = node.path or "."
    name += f" -> {node.target}" if is_link else ""
    printable = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    ids = f"{node.uid:>4} {node.gid:>4}"
    return f"{stat.filemode(node.mode)} {ids} {node.size:>11} {moment:%Y-%m-%d %H:%M} {printable}"


def node_document(node: Node) -> dict[str, Any]:
    """A file, for programs; its places in the image are in bytes."""
    row = dataclasses.asdict(node)
    row["mode"] = f"{node.mode:06o}"
    return row


def page(old: Path, new: Path, found: Sequence[Part]) -> str:
    """The differences as one page of HTML."""
    from imagebuilder.report.differences import Place, as_html  # of use here alone, and large

    places = [
        Place(
            title=f"{part.title} of {part.path}" if part.path else part.title,
            rows=[(each.kind, each.what, each.old, each.new) for each in part.differences],
            lines=part.lines,
        )
        for part in found
    ]
    if old.name == new.name:  # in different directories
        return as_html(str(old), str(new), places)
    return as_html(old.name, new.name, places)


def date(text: str) -> str:
    """A date of a volume descriptor as people write it."""
    if not text[:14].isdecimal() or not int(text[:14]):
        return "not said"
    return f"{text[:4]}-{text[4:6]}-{text[6:8]} {text[8:10]}:{text[10:12]}:{text[12:14]}"


def _aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    first, second = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    return [f"{a.ljust(first)}  {b.ljust(min(second, 60))}  {c}".rstrip() for a, b, c in rows]

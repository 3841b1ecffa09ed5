"""What a plan and a disk's layout say, in the words of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from imagebuilder.disk.model import Filesystem, Layout, Placed, Slot
from imagebuilder.element.model import Element, HooksTree
from imagebuilder.report.model import Part
from imagebuilder.sizes import Size


def parts(elements: Iterable[Element], tree: HooksTree, asked: Collection[str]) -> tuple[Part, ...]:
    """The elements of a build; a dependency that another element provides is that element."""
    chosen = tuple(elements)
    hooks = Counter(hook.element for hook in tree.hooks)
    stands_for = {name: element.name for element in chosen for name in element.provides}
    return tuple(
        Part(
            name=element.name,
            depends=_depends(element, stands_for, {each.name for each in chosen}),
            hooks=hooks[element.name],
            asked=element.name in asked,
        )
        for element in chosen
    )


def _depends(element: Element, stands_for: dict[str, str], names: set[str]) -> tuple[str, ...]:
    found = {stands_for.get(name, name) for name in element.depends}
    return tuple(sorted((found & names) - {element.name}))


def layout_lines(layout: Layout) -> tuple[str, ...]:
    """One line for the device, and one for each partition, in the order they lie."""
    device, table = layout.device, layout.table
    kind = f", {table.value}, {device.sector}-byte sectors" if table else ""
    first = f"{device.name}: {layout.size}{kind}"
    inner = sorted(layout.slots, key=lambda slot: slot.offset)
    if inner:
        places = {slot.name for slot in inner}
        volumes = [placed for placed in layout.placed if placed.filesystem.base not in places]
        return (
            first,
            *(_slot_line(layout, slot) for slot in inner),
            *(_volume_line(placed) for placed in volumes),
        )
    return (first, *(f"  {_about(placed.filesystem)}" for placed in layout.placed))


def _slot_line(layout: Layout, slot: Slot) -> str:
    boot = "boot" if slot.boot else ""
    what = (f"type {slot.type}", boot, _filesystem(layout, slot.offset))
    words = f"{slot.number}  {slot.name:<8} at {slot.offset}, {Size(slot.size)}"
    return f"  {words}; {', '.join(filter(None, what))}"


def _volume_line(placed: Placed) -> str:
    where = f"in pool {placed.pool}" if placed.pool else f"at {placed.offset}"
    if placed.pieces:
        where = "at " + " and ".join(str(piece.offset) for piece in placed.pieces)
    fs = placed.filesystem
    return f"  volume {fs.base} {where}, {placed.size}; {_about(fs)}"


def _filesystem(layout: Layout, offset: int) -> str:
    """The filesystem at `offset`, and where it is mounted; empty if there is none."""
    for placed in layout.placed:
        if placed.offset == offset and not placed.apart:
            return _about(placed.filesystem)
    return ""


def _about(fs: Filesystem) -> str:
    on = f" on {fs.mount_point}" if fs.mount_point.startswith("/") else ""
    label = f" {fs.label!r}" if fs.label else ""
    return f"{fs.type}{label}{on}"

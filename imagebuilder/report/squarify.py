"""Divides a rectangle among sizes, so that the parts are nearly square.

Rows of rectangles are closed as soon as one more would make them longer and thinner: the
squarified treemap of Bruls, Huizing and van Wijk (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """A rectangle in `box` for each size, as square as they can be; largest sizes first."""
    placed: list[Box] = []
    rest, room = list(sizes), box
    while rest and sum(rest) > 0:
        scale = room.width * room.height / sum(rest)
        row = _row([size * scale for size in rest], min(room.width, room.height))
        boxes, room = _lay(row, room)
        placed += boxes
        rest = rest[len(row) :]
    return placed + [Box(room.x, room.y, 0.0, 0.0)] * len(rest)


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """As many of the areas as make the best row along `side`."""
    taken = 1
    while taken < len(areas) and _worst(areas[: taken + 1], side) <= _worst(areas[:taken], side):
        taken += 1
    return areas[:taken]


def _worst(row: Sequence[float], side: float) -> float:
    """The ratio of the sides of the row's thinnest rectangle."""
    total = sum(row)
    if not min(row) or not side:
        return float("inf")
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))


def _lay(row: Sequence[float], room: Box) -> tuple[list[Box], Box]:
    """The row along the shorter side of the room, and the room that is left."""
    total = sum(row)
    boxes: list[Box] = []
    if room.width >= room.height:
        width, y = total / room.height, room.y
        for area in row:
            boxes.append(Box(room.x, y, width, area / width))
            y += area / width
        return boxes, Box(room.x + width, room.y, max(room.width - width, 0.0), room.height)
    height, x = total / room.width, room.x
    for area in row:
        boxes.append(Box(x, room.y, area / height, height))
        x += area / height
    return boxes, Box(room.x, room.y + height, room.width, max(room.height - height, 0.0))

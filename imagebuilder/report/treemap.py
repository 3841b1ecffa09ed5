"""The map of what takes up the room: every rectangle is as large as what it stands for.

Two maps are laid out, for wide screens and for narrow ones; every rectangle carries its place in
both, and the style sheet chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.report.markup import Markup, tag
from imagebuilder.report.model import Report
from imagebuilder.report.sizes import OTHER, Branch
from imagebuilder.report.squarify import Box, squarify
from imagebuilder.report.tables import Cell, Kind, Table, behind, note, section, table
from imagebuilder.report.words import amount, count, share

TITLE = "What takes up the room"
WIDE, NARROW = 2.0, 0.8  # width / height of the whole map, as in the style sheet
HUES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """A branch on its way to the page; `hue` 0 is neutral."""

    branch: Branch
    name: str  # of the parts of the path that were put together
    path: str
    depth: int = 0
    hue: int = 0
    ratios: tuple[float, float] = (WIDE, NARROW)


def treemap(report: Report) -> Markup:
    """The section about room: the map, and behind it the table of directories."""
    tree = report.tree
    if tree is None or not tree.size:
        return section("room", TITLE, note("There is no root tree to show."))
    told = note(f"{amount(tree.size)} in {count(tree.files, 'file')}, directories included.")
    tiles = _tiles(_Tile(branch=tree, name="", path=""), tree.size)
    drawing = tag("div", *tiles, class_="map", role="img", aria_label=_summary(tree))
    hint = tag("p", "Point at a rectangle to read what it is.", class_="note", id="tile")
    return section("room", TITLE, told, drawing, hint, _directories(tree))


def _summary(tree: Branch) -> str:
    parts = [f"{child.name} {share(child.size, tree.size)}" for child in tree.children]
    return f"Map of directories by size: {', '.join(parts)}. The table below has all of it."


def _tiles(tile: _Tile, whole: int) -> Iterator[Markup]:
    """The rectangles of everything directly below a tile's branch."""
    children = sorted(tile.branch.children, key=lambda child: -child.size)
    sizes = [child.size for child in children]
    wide, narrow = (squarify(sizes, Box(0, 0, ratio, 1)) for ratio in tile.ratios)
    for number, child in enumerate(children):
        name, branch = _shortened(child)
        boxes = (wide[number], narrow[number])
        inner = _Tile(
            branch=branch,
            name=name,
            path=f"{tile.path}/{name}",
            depth=tile.depth + 1,
            hue=number % HUES + 1 if tile.depth == 1 else tile.hue,
            ratios=(_ratio(boxes[0]), _ratio(boxes[1])),
        )
        yield _drawn(inner, _style(boxes, tile.ratios), whole)


def _shortened(branch: Branch) -> tuple[str, Branch]:
    """A directory that holds only one other, and that one, as one rectangle."""
    name = branch.name
    while len(branch.children) == 1:
        branch = branch.children[0]
        name = f"{name}/{branch.name}"
    return name, branch


def _ratio(box: Box) -> float:
    return box.width / box.height if box.height else 1.0


def _style(boxes: tuple[Box, Box], ratios: tuple[float, float]) -> str:
    """Places for the style sheet, in hundredths of the parent: `--wx` (wide, x) and so on."""
    return ";".join(
        f"--{kind}{side}:{100 * value:.2f}%"
        for kind, box, ratio in zip("wn", boxes, ratios, strict=True)
        for side, value in _sides(box, ratio)
    )


def _sides(box: Box, ratio: float) -> tuple[tuple[str, float], ...]:
    return ("x", box.x / ratio), ("y", box.y), ("w", box.width / ratio), ("h", box.height)


def _drawn(tile: _Tile, style: str, whole: int) -> Markup:
    size, rest = amount(tile.branch.size), tile.branch.name == OTHER
    head = tag("span", tag("b", tile.name), " ", tag("small", size), class_="head")
    inner = tag("div", *_tiles(tile, whole), class_="inner") if tile.branch.children else ""
    kind = f"tile {'dir' if inner else 'leaf'} hue{0 if rest else tile.hue}"
    told = f"{_shown(tile.path)}: {size}, {share(tile.branch.size, whole)}"
    return tag("div", head, inner, class_=kind, style=style, title=told)


def _shown(path: str) -> str:
    """The path, where the merged rest is said in words."""
    above, _, last = path.rpartition("/")
    return f"{above or '/'} (the rest)" if last == OTHER else path


def _directories(tree: Branch) -> Markup:
    columns = (
        ("Path", Kind.LONG),
        ("Size", Kind.NUMBER),
        ("Share", Kind.NUMBER),
        ("Files", Kind.NUMBER),
    )
    rows = [
        (
            _shown(path),
            Cell(amount(branch.size), branch.size),
            Cell(share(branch.size, tree.size), branch.size),
            Cell(f"{branch.files:,}", branch.files),
        )
        for path, branch in _below(tree, "")
    ]
    inner = table(Table(name="Directories by size", columns=columns, rows=rows))
    return behind(f"As a table of {count(len(rows), 'line')}", inner)


def _below(branch: Branch, path: str) -> Iterator[tuple[str, Branch]]:
    for child in branch.children:
        yield f"{path}/{child.name}", child
        yield from _below(child, f"{path}/{child.name}")

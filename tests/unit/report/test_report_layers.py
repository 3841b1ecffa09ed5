"""Where elements are drawn."""

from __future__ import annotations

from itertools import pairwise

from imagebuilder.report.layers import Drawing, Key, draw, room
from imagebuilder.report.model import Part


def part(name: str, *depends: str) -> Part:
    return Part(name=name, depends=depends)


def names(drawing: Drawing) -> list[list[str]]:
    return [sorted(key for key in layer if isinstance(key, str)) for layer in drawing.layers]


def test_what_is_needed_is_further_right() -> None:
    drawing = draw([part("pkg-map"), part("base", "pkg-map"), part("vm", "base"), part("other")])
    assert names(drawing) == [["other", "vm"], ["base"], ["pkg-map"]]


def test_a_dependency_that_follows_from_others_is_not_drawn() -> None:
    drawing = draw([part("c"), part("b", "c"), part("a", "b", "c")])
    assert drawing.ways == (("a", "b"), ("b", "c"))


def test_a_line_over_several_layers_bends_in_each() -> None:
    drawing = draw([part("d"), part("c", "d"), part("b", "c"), part("a", "b"), part("x", "d", "b")])
    assert names(drawing) == [["a", "x"], ["b"], ["c"], ["d"]]
    longer = draw([part("e"), part("d", "e"), part("c", "d"), part("b"), part("a", "c", "b"),
                   part("y", "e")])  # fmt: skip
    assert ("y", ("y", "e", 1), ("y", "e", 2), "e") in longer.ways


def test_elements_that_need_each_other_stand_in_one_layer() -> None:
    drawing = draw([part("a", "b"), part("b", "a"), part("c", "a")])
    assert names(drawing) == [["c"], ["a", "b"]]
    assert ("a", "b") in drawing.ways
    assert ("b", "a") in drawing.ways


def test_dependencies_that_take_no_part_are_left_out() -> None:
    assert draw([part("a", "a", "nobody")]).ways == ()


def test_no_elements_make_an_empty_drawing() -> None:
    drawing = draw([])
    assert (drawing.layers, drawing.ways, drawing.height) == ((), (), 0)


def test_nothing_overlaps_and_nothing_is_higher_than_the_fullest_layer() -> None:
    parts = [part(f"e{n}", *(f"e{m}" for m in range(n) if (n * 7 + m * 3) % 11 < 2))
             for n in range(40)]  # fmt: skip
    drawing = draw(parts)
    assert sum(len(layer) for layer in drawing.layers) >= len(parts)
    for layer in drawing.layers:
        keys: list[Key] = list(layer)
        for above, below in pairwise(keys):
            gap = drawing.middle[below] - drawing.middle[above]
            assert gap >= (room(above) + room(below)) / 2 - 1e-6
    assert drawing.height <= max(sum(map(room, layer)) for layer in drawing.layers) + 1e-6


def test_the_order_of_parts_changes_nothing() -> None:
    parts = [part("c"), part("b", "c"), part("a", "b"), part("d", "c")]
    assert draw(parts) == draw(reversed(parts))


def test_lines_that_need_not_cross_do_not() -> None:
    drawing = draw([
        part("x"),
        part("y"),
        part("z"),
        part("a", "z"),
        part("b", "y"),
        part("c", "x"),
    ])
    left, right = drawing.layers
    assert [{"a": "z", "b": "y", "c": "x"}[str(key)] for key in left] == list(right)

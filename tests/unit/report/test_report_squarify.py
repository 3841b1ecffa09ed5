"""Rectangles as large as what they stand for."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder.report.squarify import Box, squarify

ROOM = Box(0, 0, 6, 4)
SIZES = st.lists(st.integers(1, 10**12), min_size=1, max_size=40).map(
    lambda sizes: sorted(sizes, reverse=True)
)


def test_the_example_of_the_article_comes_out() -> None:
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], ROOM)
    assert boxes[:2] == [Box(0, 0, 3, 2), Box(0, 2, 3, 2)]
    assert boxes[2].width == pytest.approx(12 / 7)
    assert boxes[2].height == pytest.approx(7 / 3)


@given(sizes=SIZES)
def test_areas_are_in_proportion(sizes: list[int]) -> None:
    for size, box in zip(sizes, squarify(sizes, ROOM), strict=True):
        assert box.width * box.height == pytest.approx(24 * size / sum(sizes), abs=1e-6)


@given(sizes=SIZES)
def test_boxes_stay_in_the_room_and_apart(sizes: list[int]) -> None:
    boxes = squarify(sizes, ROOM)
    for box in boxes:
        assert box.x >= -1e-6
        assert box.y >= -1e-6
        assert box.x + box.width <= 6 + 1e-6
        assert box.y + box.height <= 4 + 1e-6
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]


def overlap(one: Box, two: Box) -> bool:
    across = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
    down = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
    return across > 1e-6 and down > 1e-6


def test_equal_sizes_are_nearly_square() -> None:
    ratios = [box.width / box.height for box in squarify([1] * 24, ROOM)]
    assert all(0.5 < ratio < 2 for ratio in ratios)


def test_nothing_has_no_area() -> None:
    assert squarify([], ROOM) == []
    assert [box.width for box in squarify([0, 0], ROOM)] == [0, 0]
    assert squarify([5, 0], ROOM)[1].height * squarify([5, 0], ROOM)[1].width == 0

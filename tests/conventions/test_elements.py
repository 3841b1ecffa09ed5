"""Our own elements are as we tell others to write them."""

from __future__ import annotations

from pathlib import Path

from imagebuilder.element import load
from imagebuilder.lint.lint import lint
from imagebuilder.process import run

ROOT = Path(__file__).parents[2]


def test_the_linter_finds_nothing_in_our_elements() -> None:
    elements = tuple(load.index([ROOT / "elements"]).values())
    assert len(elements) > 50
    assert [str(finding) for finding in lint(elements, [ROOT / "elements"], run)] == []

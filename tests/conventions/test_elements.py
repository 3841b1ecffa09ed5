"""Our own elements are as we tell others to write them, and each is used by a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from imagebuilder.element import load
from imagebuilder.lint.lint import lint
from imagebuilder.process import run

ROOT = Path(__file__).parents[2]
OURS = load.index([ROOT / "elements"])
BUILDING = ("builds", "boots", "conformance", "elements", "tools")  # directories of such tests


def words(directories: Iterable[Path]) -> set[str]:
    """The words of texts in tests, where builds are told what to use; not those of comments."""
    found: set[str] = set()
    for path in (path for directory in directories for path in directory.rglob("*")):
        if path.suffix == ".py":
            for text in texts(ast.parse(path.read_text())):
                found.update(text.replace("/", " ").split())
        elif path.name == "element-deps":
            found.update(path.read_text().split())
    return found


def texts(module: ast.Module) -> Iterator[str]:
    """The strings of a module that are not docstrings."""
    nodes = [*ast.walk(module)]
    statements = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and node not in statements:
            yield node.value


def with_dependencies(names: Iterable[str]) -> set[str]:
    """These elements of ours and those that they bring."""
    reached: set[str] = set()
    left = [*names]
    while left:
        name = left.pop()
        if name in OURS and name not in reached:
            reached.add(name)
            left += load.load(OURS[name]).depends
    return reached


def test_the_linter_finds_nothing_in_our_elements() -> None:
    elements = tuple(OURS.values())
    assert len(elements) > 50
    assert [str(finding) for finding in lint(elements, [ROOT / "elements"], run)] == []


def test_every_element_is_used_by_a_test() -> None:
    used = with_dependencies(words(ROOT / "tests" / name for name in BUILDING))
    assert sorted({*OURS} - used) == []


def test_every_variable_is_used_by_a_test_or_explained() -> None:
    page = (ROOT / "docs/reference/compatibility.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    known = set(re.findall(r"\w+", page + tests))
    declared = {v.name for path in OURS.values() for v in load.load(path).variables}
    assert len(declared) > 150
    assert sorted(declared - known) == []


@pytest.mark.parametrize("name", OURS)
def test_every_element_is_documented(name: str) -> None:
    assert (OURS[name] / "README.rst").read_text().strip()
    assert load.load(OURS[name]).summary

"""The page about conformance names tests that there are, and says of every rule what keeps it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "conformance.md"
NAMED = re.compile(r"`([\w/]+)::(\w+)`")


def rows() -> list[tuple[str, str]]:
    """Rules and what keeps them."""
    cells = [line.strip("|").split(" | ") for line in PAGE.read_text().splitlines()]
    table = [(row[0].strip(), row[-1].strip()) for row in cells if len(row) > 1]
    return [row for row in table if row[1] != "kept by" and set(row[0]) != {"-"}]


@cache
def names_in(path: str) -> frozenset[str]:
    file = ROOT / "tests" / f"{path}.py"
    nodes = ast.walk(ast.parse(file.read_text())) if file.is_file() else ()
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def test_every_rule_has_a_test_or_an_explanation() -> None:
    assert len(rows()) > 80
    assert [rule for rule, kept in rows() if not NAMED.search(kept) and "](" not in kept] == []


def test_every_test_that_is_named_is_there() -> None:
    named = [pair for _, kept in rows() for pair in NAMED.findall(kept)]
    assert len(named) > 120
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_conformance_test_keeps_a_rule() -> None:
    named = {f"{path}::{name}" for _, kept in rows() for path, name in NAMED.findall(kept)}
    files = sorted((ROOT / "tests/conformance").glob("test_*.py"))
    assert len(files) >= 3
    there = {
        f"conformance/{file.stem}::{name}"
        for file in files
        for name in names_in(f"conformance/{file.stem}")
        if name.startswith("test_")
    }
    assert there - named == set()

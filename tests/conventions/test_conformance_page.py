"""Pages about what is promised name tests that there are, and say of every rule what keeps it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from imagebuilder.element.gone import GONE

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT / "docs" / "reference" / "conformance.md"
LEAST = {CONFORMANCE: (80, 120), CONFORMANCE.with_name("remastering.md"): (90, 120)}
EACH = pytest.mark.parametrize("page", LEAST, ids=lambda page: page.stem)
OF_OUR_OWN = {  # elements that diskimage-builder has not
    "almalinux", "container-root", "debian-installer-iso", "existing-image", "installer-iso",
    "iso-medium", "kernel-version", "live-iso", "netboot", "proxmox-ve-iso", "redhat-image",
    "rocky", "root-password", "rpm-container", "squashfs-root", "squashfs-tree",
    "ubuntu-live-server-iso",
}  # fmt: skip
NAMED = re.compile(r"`([\w/]+)::(\w+)`")


def rows(page: Path) -> list[tuple[str, str]]:
    """Rules and what keeps them."""
    cells = [line.strip("|").split(" | ") for line in page.read_text().splitlines()]
    table = [(row[0].strip(), row[-1].strip()) for row in cells if len(row) > 1]
    return [row for row in table if row[1] != "kept by" and set(row[0]) != {"-"}]


@cache
def names_in(path: str) -> frozenset[str]:
    file = ROOT / "tests" / f"{path}.py"
    nodes = ast.walk(ast.parse(file.read_text())) if file.is_file() else ()
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


@EACH
def test_every_rule_has_a_test_or_an_explanation(page: Path) -> None:
    assert len(rows(page)) > LEAST[page][0]
    assert [rule for rule, kept in rows(page) if not NAMED.search(kept) and "](" not in kept] == []


@EACH
def test_every_test_that_is_named_is_there(page: Path) -> None:
    named = [pair for _, kept in rows(page) for pair in NAMED.findall(kept)]
    assert len(named) > LEAST[page][1]
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_conformance_test_keeps_a_rule() -> None:
    named = {
        f"{path}::{name}" for _, kept in rows(CONFORMANCE) for path, name in NAMED.findall(kept)
    }
    files = sorted((ROOT / "tests/conformance").glob("test_*.py"))
    assert len(files) >= 3
    there = {
        f"conformance/{file.stem}::{name}"
        for file in files
        for name in names_in(f"conformance/{file.stem}")
        if name.startswith("test_")
    }
    assert there - named == set()


def test_every_element_of_diskimage_builder_has_a_row() -> None:
    text = CONFORMANCE.read_text().split("## Elements that come along", 1)[1].split("\n## ")[0]
    cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    ours = {path.name for path in (ROOT / "elements").iterdir()}
    assert ours > OF_OUR_OWN
    assert len(named) == 128
    assert {*named} & ours == ours - OF_OUR_OWN
    assert {*named} - ours <= GONE.keys()

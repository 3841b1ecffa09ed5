"""The map of a tree."""

from __future__ import annotations

import re
from dataclasses import replace

from imagebuilder.report.model import Report
from imagebuilder.report.sizes import Branch
from imagebuilder.report.treemap import treemap

TREE = Branch(name="/", size=1000, files=9, children=(
    Branch(name="usr", size=700, files=6, children=(
        Branch(name="lib", size=500, files=3, children=(
            Branch(name="modules", size=500, files=2, children=(
                Branch(name="6.1", size=490, files=1),
            )),
        )),
        Branch(name="other", size=200, files=2),
    )),
    Branch(name="boot", size=300, files=2),
))  # fmt: skip


def shown(report: Report, tree: Branch) -> str:
    return treemap(replace(report, tree=tree)).replace("\u00a0", " ")


def test_every_rectangle_says_what_it_is(report: Report) -> None:
    titles = re.findall(r' title="([^"]*)"', shown(report, TREE))
    assert titles == [
        "/usr: 700 B, 70 %",
        "/usr/lib/modules/6.1: 490 B, 49 %",
        "/usr (the rest): 200 B, 20 %",
        "/boot: 300 B, 30 %",
    ]


def test_the_table_has_every_branch(report: Report) -> None:
    table = shown(report, TREE).partition("<tbody>")[2]
    paths = re.findall(r'<tr><td class="long">([^<]*)<', table)
    assert paths == [
        "/usr", "/usr/lib", "/usr/lib/modules", "/usr/lib/modules/6.1", "/usr (the rest)", "/boot",
    ]  # fmt: skip


def test_rectangles_fill_the_map_on_both_kinds_of_screen(report: Report) -> None:
    text = shown(report, TREE)
    for kind in "wn":
        sides = re.findall(rf"--{kind}w:([\d.]+)%;--{kind}h:([\d.]+)%", text)
        top = [sides[0], sides[3]]
        assert abs(sum(float(w) * float(h) for w, h in top) - 10_000) < 5


def test_a_tree_of_nothing_is_said_in_words(report: Report) -> None:
    assert "There is no root tree to show." in shown(report, Branch(name="/", size=0))

"""How the room in a tree is added up."""

from __future__ import annotations

import os
from pathlib import Path

from imagebuilder.report.sizes import OTHER, Branch, measure

PAGE = 4096


def fill(path: Path, pages: int) -> int:
    """Write a file; the bytes that it takes up on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(pages * PAGE))
    return blocks(path)


def blocks(path: Path) -> int:
    return path.lstat().st_blocks * 512


def child(branch: Branch, *names: str) -> Branch:
    for name in names:
        branch = next(each for each in branch.children if each.name == name)
    return branch


def test_everything_is_counted_once(tmp_path: Path) -> None:
    fill(tmp_path / "usr/lib/a", 10)
    fill(tmp_path / "usr/share/deep/er/and/deeper/b", 20)
    everything = [tmp_path, *tmp_path.rglob("*")]
    tree = measure(tmp_path)
    assert tree.size == sum(blocks(path) for path in everything)
    assert tree.files == len(everything)


def test_children_are_sorted_by_size(tmp_path: Path) -> None:
    for name, pages in {"small": 5, "large": 50, "middle": 20}.items():
        fill(tmp_path / name / "file", pages)
    assert [b.name for b in measure(tmp_path).children] == ["large", "middle", "small"]


def test_small_ones_are_merged_and_come_last(tmp_path: Path) -> None:
    fill(tmp_path / "large", 100)
    merged = sum(fill(tmp_path / f"small{number}", 1) for number in range(5))
    tree = measure(tmp_path, small=0.02)
    assert [branch.name for branch in tree.children] == ["large", OTHER]
    assert tree.children[-1] == Branch(name=OTHER, size=merged, files=5)


def test_what_is_below_the_depth_is_added_to_the_last_directory(tmp_path: Path) -> None:
    fill(tmp_path / "a/b/c/file", 10)
    deepest = child(measure(tmp_path, depth=2), "a", "b")
    assert deepest.children == ()
    assert deepest.size == sum(map(blocks, (tmp_path / "a/b", *(tmp_path / "a/b").rglob("*"))))
    assert deepest.files == 3


def test_a_hard_link_is_counted_once(tmp_path: Path) -> None:
    size = fill(tmp_path / "a/file", 50)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/link").hardlink_to(tmp_path / "a/file")
    tree = measure(tmp_path, small=0.0)
    assert child(tree, "a").size >= size
    assert sum(branch.size for branch in tree.children if branch.name != "a") < size


def test_symlinks_are_not_followed(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    size = fill(outside / "file", 100)
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    assert measure(tree).size < size


def test_holes_take_up_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "real", 10)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    assert measure(tmp_path).size < 2**20


def test_an_empty_tree_has_no_children(tmp_path: Path) -> None:
    tree = measure(tmp_path)
    assert (tree.children, tree.files) == ((), 1)


def test_a_name_that_is_no_text_is_made_readable(tmp_path: Path) -> None:
    fill(tmp_path / os.fsdecode(b"caf\xe9"), 1)
    assert [branch.name for branch in measure(tmp_path).children] == ["caf\ufffd"]

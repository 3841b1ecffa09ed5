import os
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from imagebuilder.filesystems import measure as of
from imagebuilder.filesystems.measure import Loss, measure

BLOCK = 4096


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    settle(path)
    return path


def settle(path: Path, seconds: int = 10**9) -> None:
    os.utime(path, (seconds, seconds), follow_symlinks=False)


def file(path: Path, size: int = 1) -> Path:
    path.write_bytes(b"x" * size)
    settle(path)
    return path


def has_attributes(path: Path) -> bool:
    try:
        os.setxattr(path, "user.probe", b"")
        os.removexattr(path, "user.probe")
    except OSError:
        return False
    return True


def test_an_empty_tree_is_one_inode_and_one_directory(tree: Path) -> None:
    found = measure(tree)
    assert (found.inodes, found.files, found.data, found.directories) == (1, 0, 0, ((0, 0),))
    assert found.apparent == BLOCK


def test_contents_count_in_whole_blocks(tree: Path) -> None:
    for size in (0, 1, 4096, 4097):
        file(tree / str(size), size)
    found = measure(tree)
    assert (found.inodes, found.files) == (5, 4)
    assert found.data == found.expanded == 4 * BLOCK
    assert found.apparent == 5 * BLOCK


def test_hard_links_count_once_except_where_there_are_none(tree: Path) -> None:
    file(tree / "a", 5000)
    (tree / "b").hardlink_to(tree / "a")
    found = measure(tree)
    assert (found.inodes, found.files, found.data, found.expanded) == (2, 2, 8192, 16384)
    assert found.losses(of.HARD_LINK) == (Loss("hard links", 1, ("/b",)),)


def test_holes_are_left_out(tree: Path) -> None:
    with (tree / "sparse").open("wb") as opened:
        opened.seek(50 * 2**20)
        opened.write(b"x" * 4096)
        opened.truncate(100 * 2**20)
    found = measure(tree)
    assert 4096 <= found.data <= 2**20
    assert found.sparse == found.data
    assert found.expanded == 100 * 2**20


@pytest.mark.parametrize(
    ("size", "blocks"), [(12 * BLOCK, 0), (13 * BLOCK, 3), (4096 * BLOCK, 7), (BLOCK * 2**21, 2051)]
)
def test_blocks_that_map_large_files_are_foreseen(tree: Path, size: int, blocks: int) -> None:
    with (tree / "large").open("wb") as opened:
        opened.write(b"x" * 1000 * BLOCK)
        opened.truncate(size)
    assert blocks <= measure(tree).indirect <= blocks + 3


def test_directories_count_entries_and_bytes_of_names(tree: Path) -> None:
    (tree / "dir").mkdir()
    file(tree / "dir" / "ä")
    file(tree / "z")
    assert measure(tree).directories == ((2, 4), (1, 2))


def test_only_long_symlinks_take_a_block(tree: Path) -> None:
    (tree / "short").symlink_to("x" * 59)
    (tree / "long").symlink_to("x" * 60)
    assert measure(tree).data == BLOCK


def test_what_lies_below_a_mount_point_belongs_to_another_filesystem(tree: Path) -> None:
    (tree / "boot" / "efi").mkdir(parents=True)
    file(tree / "boot" / "efi" / "BOOTX64.EFI", 10**6)
    file(tree / "boot" / "efile", 5)
    found = measure(tree, without=["/boot/efi"])
    assert (found.inodes, found.data) == (4, BLOCK)
    assert sorted(found.directories) == [(0, 0), (1, 4), (2, 8)]


def test_the_numbers_do_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    trees = [tmp_path / "a", tmp_path / "b"]
    for tree, names in zip(trees, ("abcdefgh", "hgfedcba"), strict=True):
        tree.mkdir()
        for name in names:
            file(tree / name).chmod(0o600)
            settle(tree / name, -5)
        settle(tree)
    first, second = (measure(tree) for tree in trees)
    assert first == second
    assert first.found[of.BEFORE_1970].paths == ("/a", "/b", "/c", "/d", "/e")
    assert str(first.found[of.BEFORE_1970]) == (
        "8 times before 1970: '/a', '/b', '/c', '/d', '/e', …"
    )


@pytest.mark.parametrize(
    ("seconds", "kinds"),
    [
        (0, {of.BEFORE_1980}),
        (of.IN_1980, set()),
        (-1, {of.BEFORE_1970, of.BEFORE_1980}),
        (2**31 - 1, set()),
        (2**31, {of.AFTER_2037}),
        (0.5, {of.BEFORE_1980, of.NANOSECONDS}),
        (10**9 + 0.5, {of.NANOSECONDS}),
    ],
)
def test_odd_times_are_found(tree: Path, seconds: float, kinds: set[str]) -> None:
    os.utime(file(tree / "f"), (seconds, seconds))
    settle(tree)
    times = {of.BEFORE_1970, of.BEFORE_1980, of.AFTER_2037, of.NANOSECONDS, of.OUT_OF_RANGE}
    assert set(measure(tree).found) & times == kinds


def bind(path: Path) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (bind, of.SOCKET),
        (os.mkfifo, of.FIFO),
        (lambda path: path.symlink_to("x"), of.SYMLINK),
    ],
)
def test_special_files_are_found(tree: Path, make: Callable[[Path], None], kind: str) -> None:
    make(tree / "it")
    found = measure(tree)
    assert found.losses(kind, of.DEVICE) == (Loss(kind, 1, ("/it",)),)
    assert (found.inodes, found.files, found.data) == (2, 0, 0)


def test_extended_attributes_are_counted_and_large_ones_take_a_block(tree: Path) -> None:
    if not has_attributes(tree):
        pytest.skip("the filesystem below has no extended attributes")
    for name, size in (("none", 0), ("small", 10), ("large", 500)):
        file(tree / name)
        if size:
            os.setxattr(tree / name, "user.it", b"v" * size)
    found = measure(tree)
    assert found.attributes == 2 * (7 + 20) + 510
    assert found.attribute_blocks == 1
    assert found.found[of.ATTRIBUTE].paths == ("/large", "/small")

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagebuilder.paths import directory_in, exists_in, open_in, read_in, remove_in, write_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root tree, beside a directory and a file that nothing in it may reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("precious")
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/file").write_text("inside")
    return tmp_path / "tree"


@pytest.fixture(autouse=True)
def _nothing_outside_changes(tree: Path) -> Iterator[None]:
    yield
    assert os.listdir(tree.parent / "outside") == ["file"]  # ruff: ignore[os-listdir] - as told
    assert (tree.parent / "outside/file").read_text() == "precious"


@pytest.mark.parametrize("path", ["etc/file", "/etc/file", "//etc/../etc/./file", "../../etc/file"])
def test_a_file_is_read(path: str, tree: Path) -> None:
    assert read_in(tree, path) == b"inside"


def test_a_file_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tree/etc/none"):
        read_in(tree, "/etc/none")


@pytest.mark.parametrize("path", ["/new", "new", "/etc/new", "/a/b/c/new", "/../new"])
def test_a_file_is_written_with_its_directories(path: str, tree: Path) -> None:
    write_in(tree, path, b"text", 0o600)
    assert read_in(tree, path) == b"text"
    written = tree / path.lstrip("/").removeprefix("../")
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tree: Path) -> None:
    write_in(tree, "/etc/file", b"new")
    assert (tree / "etc/file").read_text() == "new"
    assert [path.name for path in (tree / "etc").iterdir()] == ["file"]


def test_an_absolute_symlink_stays_inside(tree: Path) -> None:
    (tree / "link").symlink_to("/etc/file")
    assert read_in(tree, "link") == b"inside"


@pytest.mark.parametrize("target", ["/outside/file", "../outside/file", "../../../outside/file"])
def test_a_symlink_out_of_the_tree_leads_nowhere(target: str, tree: Path) -> None:
    (tree / "link").symlink_to(target)
    assert not exists_in(tree, "link")
    with pytest.raises(FileNotFoundError):
        read_in(tree, "link")


def test_an_absolute_symlink_to_the_real_place_leads_nowhere(tree: Path) -> None:
    (tree / "link").symlink_to(tree.parent / "outside/file")
    assert not exists_in(tree, "link")


def test_too_many_parents_end_at_the_root_of_the_tree(tree: Path) -> None:
    (tree / "link").symlink_to("../../../etc/file")
    assert read_in(tree, "link") == b"inside"


def test_writing_replaces_a_symlink_and_not_what_it_leads_to(tree: Path) -> None:
    (tree / "etc/link").symlink_to("/etc/file")
    write_in(tree, "/etc/link", b"new")
    assert not (tree / "etc/link").is_symlink()
    assert (tree / "etc/file").read_text() == "inside"


@pytest.mark.parametrize("outside", [True, False])
def test_writing_replaces_a_dangling_symlink(outside: bool, tree: Path) -> None:  # ruff: ignore[boolean-type-hint-positional-argument] - pytest names it
    (tree / "link").symlink_to(tree.parent / "outside/new" if outside else "/etc/none")
    write_in(tree, "link", b"new")
    assert (tree / "link").read_text() == "new"
    assert not (tree / "link").is_symlink()
    assert not (tree / "etc/none").exists()


@pytest.mark.parametrize("target", ["/etc", "etc", "../../etc", "/../etc"])
def test_a_symlinked_parent_is_followed_inside(target: str, tree: Path) -> None:
    (tree / "alias").symlink_to(target)
    write_in(tree, "/alias/deep/new", b"text")
    assert (tree / "etc/deep/new").read_text() == "text"


@pytest.mark.parametrize("target", ["../outside", "/outside", "OUTSIDE"])
def test_a_parent_that_leads_out_is_an_error(target: str, tree: Path) -> None:
    outside = str(tree.parent / "outside")
    (tree / "alias").symlink_to(target.replace("OUTSIDE", outside))
    with pytest.raises(OSError, match="No such file"):
        write_in(tree, "/alias/new", b"text")
    with pytest.raises(OSError, match="No such file"):
        write_in(tree, "/alias/deep/new", b"text")


def test_a_temporary_file_is_not_written_through_a_symlink(tree: Path) -> None:
    (tree / "etc/.new.new").symlink_to(tree.parent / "outside/file")
    with pytest.raises(OSError, match="symbolic links"):
        write_in(tree, "/etc/new", b"text")


def test_a_loop_of_symlinks_is_an_error(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    assert not exists_in(tree, "a/x")
    with pytest.raises(OSError, match="symbolic links"):
        write_in(tree, "a/x", b"")


def test_a_file_in_the_place_of_a_directory_is_an_error(tree: Path) -> None:
    with pytest.raises(NotADirectoryError):
        write_in(tree, "etc/file/x", b"")


def test_a_file_is_removed(tree: Path) -> None:
    remove_in(tree, "/etc/file")
    assert not (tree / "etc/file").exists()


def test_removing_what_is_not_there_is_no_error(tree: Path) -> None:
    remove_in(tree, "/etc/none")
    remove_in(tree, "/none/none")


def test_removing_a_symlink_leaves_what_it_leads_to(tree: Path) -> None:
    (tree / "link").symlink_to("etc/file")
    remove_in(tree, "link")
    assert not (tree / "link").is_symlink()
    assert (tree / "etc/file").exists()


@pytest.mark.parametrize("target", ["../outside", "OUTSIDE"])
def test_nothing_is_removed_through_a_symlink_out(target: str, tree: Path) -> None:
    (tree / "alias").symlink_to(target.replace("OUTSIDE", str(tree.parent / "outside")))
    remove_in(tree, "alias/file")
    assert (tree.parent / "outside/file").exists()


def test_whether_something_exists(tree: Path) -> None:
    assert exists_in(tree, "/etc")
    assert exists_in(tree, "/")
    assert not exists_in(tree, "/none")


def test_a_directory_is_made_with_its_parents(tree: Path) -> None:
    with directory_in(tree, "/a/b") as fd:
        assert os.listdir(fd) == []  # ruff: ignore[os-listdir] - of a descriptor
    assert (tree / "a/b").is_dir()


def test_descriptors_are_closed(tree: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    write_in(tree, "/a/b/c", b"text")
    read_in(tree, "/a/b/c")
    remove_in(tree, "/a/b/c")
    exists_in(tree, "/a/b/c")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_new_file_gets_the_mode_it_is_opened_with(tree: Path) -> None:
    os.close(open_in(tree, "/etc/new", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (tree / "etc/new").stat().st_mode & 0o777 == 0o600

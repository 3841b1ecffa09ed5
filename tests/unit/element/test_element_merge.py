from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element.load import load
from imagebuilder.element.merge import merge
from imagebuilder.element.model import HooksTree
from imagebuilder.errors import ElementError

MakeElement = Callable[[str, Mapping[str, str]], Path]


REPLACES = "replaces: [install.d/50-x]\n"


def hooks(tree: HooksTree, phase: str) -> list[str]:
    return [hook.name for hook in tree.of(phase)]


def test_the_hooks_of_all_elements_run_in_one_order(make_element: MakeElement) -> None:
    a = load(make_element("a", {"install.d/20-a": "", "root.d/10-r": "", "install.d/1-a": ""}))
    b = load(make_element("b", {"install.d/10-b": ""}))
    tree = merge((a, b))
    assert [(hook.phase, hook.name, hook.element) for hook in tree.hooks] == [
        ("root", "10-r", "a"),
        ("install", "1-a", "a"),
        ("install", "10-b", "b"),
        ("install", "20-a", "a"),
    ]
    assert tree.hooks[2].source == b.path / "install.d/10-b"


def test_hooks_are_ordered_by_their_number_then_by_their_bytes(make_element: MakeElement) -> None:
    names = ["99-x", "100-x", "010-a", "10-b", "10-B", "9-z", "abc", "-3", "_x", "00-a", "10_a"]
    tree = merge((load(make_element("a", {f"install.d/{name}": "" for name in names})),))
    assert hooks(tree, "install") == [
        "-3", "00-a", "_x", "abc", "9-z", "010-a", "10-B", "10-b", "10_a", "99-x", "100-x",
    ]  # fmt: skip


def test_environment_files_are_ordered_by_their_bytes(make_element: MakeElement) -> None:
    names = ["11-a", "100-x", "9-c", "10.bash", "10-b.sh"]
    tree = merge((load(make_element("a", {f"environment.d/{name}": "" for name in names})),))
    assert tree.environment == ("10-b.sh", "10.bash", "100-x", "11-a", "9-c")


def test_environment_files_need_not_be_executable(make_element: MakeElement) -> None:
    path = make_element("a", {"environment.d/10-a": ""})
    (path / "environment.d/10-a").chmod(0o644)
    tree = merge((load(path),))
    assert tree.environment == ("10-a",)
    assert tree.ignored == ()


def test_what_will_not_run_is_told_with_the_reason(make_element: MakeElement) -> None:
    files = ("10-a.sh", "20-b", "30~", "40 x", "50-fine")
    path = make_element("a", {f"install.d/{name}": "" for name in files})
    (path / "install.d/20-b").chmod(0o644)
    (path / "install.d/60-link").symlink_to("nowhere")
    (path / "install.d/70-dir").symlink_to("/")
    os.mkfifo(path / "install.d/80-fifo", 0o755)
    make_element("a", {"environment.d/10 a": ""})
    tree = merge((load(path),))
    assert hooks(tree, "install") == ["50-fine"]
    assert {file.name: why for file, why in tree.ignored} == {
        "10-a.sh": "a dot in its name",
        "20-b": "not executable",
        "30~": "something in its name besides letters, digits, '-' and '_'",
        "40 x": "something in its name besides letters, digits, '-' and '_'",
        "60-link": "a symlink that leads nowhere",
        "70-dir": "not a regular file",
        "80-fifo": "not a regular file",
        "10 a": "something in its name besides letters, digits, dots, '-' and '_'",
    }
    assert "install.d/20-b" in tree.files
    assert "install.d/80-fifo" not in tree.files


def test_a_hook_may_be_a_symlink(make_element: MakeElement) -> None:
    path = make_element("a", {"shared.d/run": "", "install.d/README": ""})
    (path / "install.d/10-x").symlink_to("../shared.d/run")
    tree = merge((load(path),))
    assert [hook.source for hook in tree.hooks if hook.name == "10-x"] == [path / "shared.d/run"]
    assert tree.files["install.d/10-x"] == path / "shared.d/run"


def test_a_phase_directory_may_be_a_symlink(make_element: MakeElement) -> None:
    path = make_element("a", {"other.d/10-x": ""})
    (path / "install.d").symlink_to("other.d")
    assert hooks(merge((load(path),)), "install") == ["10-x"]


def test_symlinks_below_other_directories_stay_symlinks(make_element: MakeElement) -> None:
    path = make_element("a", {"static/etc/real": ""})
    (path / "static/etc/link").symlink_to("/run/somewhere")
    (path / "static/etc/up").symlink_to("..")
    files = merge((load(path),)).files
    assert list(files) == ["static/etc/link", "static/etc/real", "static/etc/up"]
    assert files["static/etc/link"].is_symlink()


@pytest.mark.parametrize("directory", ["install.d", "environment.d", "bin"])
def test_two_elements_may_not_have_the_same_hook(directory: str, make_element: MakeElement) -> None:
    elements = [load(make_element(name, {f"{directory}/10-x": ""})) for name in "ab"]
    with pytest.raises(ElementError) as caught:
        merge(elements)
    for part in (f"'{directory}/10-x'", *(f"{element.path}/" for element in elements)):
        assert part in caught.value.what
    assert caught.value.hint.startswith("rename one of them")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("turned", [False, True])
def test_an_element_may_replace_a_hook_of_another(
    make_element: MakeElement, *, turned: bool
) -> None:
    theirs = load(make_element("theirs", {"install.d/50-x": "theirs", "install.d/60-y": ""}))
    ours = load(make_element("ours", {"install.d/50-x": "ours", "element.yaml": REPLACES}))
    tree = merge((ours, theirs) if turned else (theirs, ours))
    assert [(hook.name, hook.element) for hook in tree.of("install")] == [
        ("50-x", "ours"), ("60-y", "theirs"),
    ]  # fmt: skip
    hook = "install.d/50-x"
    assert tree.files[hook] == ours.path / hook
    assert tree.replaced == ((ours.path / hook, theirs.path / hook),)


def test_two_elements_may_not_both_replace_a_hook(make_element: MakeElement) -> None:
    a, b = (load(make_element(name, {"install.d/50-x": "", "element.yaml": REPLACES}))
            for name in "ab")  # fmt: skip
    with pytest.raises(ElementError, match=r"two elements have the hook 'install\.d/50-x'"):
        merge((a, b))


def test_a_hook_that_is_to_replace_another_has_to_be_there(make_element: MakeElement) -> None:
    with pytest.raises(ElementError, match=r"(?s)element.yaml:1:.*has no install.d/50-x"):
        load(make_element("a", {"element.yaml": REPLACES}))


def test_deeper_directories_merge_and_the_later_element_wins(make_element: MakeElement) -> None:
    a = load(make_element("a", {"static/etc/motd": "a", "static/etc/a": ""}))
    b = load(make_element("b", {"static/etc/motd": "b"}))
    files = merge((a, b)).files
    assert files["static/etc/motd"] == b.path / "static/etc/motd"
    assert files["static/etc/a"] == a.path / "static/etc/a"
    assert merge((b, a)).files["static/etc/motd"] == a.path / "static/etc/motd"


def test_the_later_element_wins_at_the_top(make_element: MakeElement) -> None:
    a = load(make_element("a", {"pkg-map": "a", "x.pyc": ""}))
    b = load(make_element("b", {"pkg-map": "b"}))
    assert merge((a, b)).files == {"pkg-map": b.path / "pkg-map"}


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_file_and_a_directory_of_one_name_are_refused(
    first: str, make_element: MakeElement
) -> None:
    a = load(make_element("a", {"static/etc": ""}))
    b = load(make_element("b", {"static/etc/motd": ""}))
    with pytest.raises(ElementError, match="'static/etc' is a file in one element and a directory"):
        merge((a, b) if first == "a" else (b, a))


@pytest.mark.parametrize("name", ["tests/x", "test-elements/x/y", "__pycache__/x", ".git/config",
                                  "install.d/.10-x", "bin/__pycache__/x"])  # fmt: skip
def test_some_files_are_not_merged(name: str, make_element: MakeElement) -> None:
    assert merge((load(make_element("a", {name: "", "bin/x": ""})),)).files.keys() == {"bin/x"}


def test_dot_files_deeper_down_are_merged(make_element: MakeElement) -> None:
    files = merge((load(make_element("a", {"static/root/.bashrc": ""})),)).files
    assert list(files) == ["static/root/.bashrc"]


def test_files_in_directories_of_a_phase_are_no_hooks(make_element: MakeElement) -> None:
    tree = merge((load(make_element("a", {"install.d/a-source-install/10-x": ""})),))
    assert (tree.hooks, tree.ignored) == ((), ())
    assert list(tree.files) == ["install.d/a-source-install/10-x"]


def test_the_files_are_sorted(make_element: MakeElement) -> None:
    a = load(make_element("a", {"zz": "", "static/b": "", "bin/c": "", "static/a/x": ""}))
    assert list(merge((a,)).files) == ["bin/c", "static/a/x", "static/b", "zz"]


def test_directories_are_kept_the_empty_ones_too(make_element: MakeElement) -> None:
    first = make_element("a", {"static/srv/x/y": "", "install.d/.git/z": "", "tests/t/u": ""})
    second = make_element("b", {"static/srv/z": ""})
    (second / "static/srv/empty").mkdir()
    (second / "static/link").symlink_to("srv")
    directories = merge((load(first), load(second))).directories
    assert directories == {
        "static/srv": second / "static/srv",
        "static/srv/empty": second / "static/srv/empty",
        "static/srv/x": first / "static/srv/x",
    }


def test_an_empty_directory_and_a_file_of_one_name_are_refused(make_element: MakeElement) -> None:
    first, second = make_element("a", {"static/x": ""}), make_element("b", {"static/y": ""})
    (second / "static/x").mkdir()
    for elements in ((first, second), (second, first)):
        with pytest.raises(ElementError, match=r"'static/x' is a file .* and a directory"):
            merge([load(element) for element in elements])

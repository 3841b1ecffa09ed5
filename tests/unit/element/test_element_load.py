from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element import load
from imagebuilder.element.model import Variable
from imagebuilder.errors import ConfigError, ElementError

MakeElement = Callable[[str, Mapping[str, str]], Path]


def test_the_builtin_elements_are_last_on_the_search_path(tmp_path: Path) -> None:
    assert load.search_path(str(tmp_path)) == (tmp_path, load.builtin())


def test_the_builtin_elements_are_on_the_search_path_only_once() -> None:
    assert load.search_path(f"{load.builtin()}:") == (load.builtin(),)


def test_an_empty_elements_path_leaves_the_builtin_elements() -> None:
    assert load.search_path("") == (load.builtin(),)


def test_an_entry_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^ELEMENTS_PATH: '.*/file' is not a directory\n.*hint"):
        load.search_path(f"{tmp_path}:{tmp_path}/file")


@pytest.mark.parametrize("package", ["diskimage-builder", "diskimage_builder"])
def test_where_diskimage_builders_elements_are_not_installed_ours_stand_for_them(
    tmp_path: Path, package: str
) -> None:
    elements = tmp_path / package / "elements"
    assert load.search_path(f"{tmp_path}:{elements}/") == (tmp_path, load.builtin())
    elements.mkdir(parents=True)
    assert load.search_path(f"{elements}") == (elements, load.builtin())


def test_the_builtin_elements_are_elements() -> None:
    assert {"base", "debian-minimal"} <= load.index((load.builtin(),)).keys()


def test_an_earlier_directory_overrides_a_whole_element(
    tmp_path: Path, make_element: MakeElement
) -> None:
    make_element("mine/vm", {"README": "mine"})
    make_element("theirs/vm", {"element-deps": "base\n"})
    make_element("theirs/base", {})
    index = load.index((tmp_path / "mine", tmp_path / "theirs"))
    assert index == {"base": tmp_path / "theirs/base", "vm": tmp_path / "mine/vm"}
    assert load.load(index["vm"]).depends == ()


def test_what_is_overridden_is_told(make_element: MakeElement) -> None:
    places = tuple(make_element(f"{place}/vm", {}).parent for place in "abc")
    expected = ((places[0] / "vm", places[1] / "vm"), (places[1] / "vm", places[2] / "vm"))
    assert load.overridden(places) == expected


def test_a_directory_listed_twice_overrides_nothing(make_element: MakeElement) -> None:
    place = make_element("place/vm", {}).parent
    assert load.overridden((place, place)) == ()


def test_a_symlink_is_named_after_what_it_leads_to(
    tmp_path: Path, make_element: MakeElement
) -> None:
    real = make_element("elsewhere/real", {})
    (tmp_path / "place").mkdir()
    (tmp_path / "place/alias").symlink_to(real)
    assert load.index((tmp_path / "place",)) == {"real": real}


def test_a_directory_wins_over_a_symlink_to_another_of_its_name(
    tmp_path: Path, make_element: MakeElement
) -> None:
    real = make_element("place/vm", {})
    (tmp_path / "place/alias").symlink_to(make_element("elsewhere/vm", {}))
    assert load.index((tmp_path / "place",)) == {"vm": real}


@pytest.mark.parametrize("name", ["tests", "__pycache__", ".git"])
def test_some_directories_are_no_elements(
    name: str, tmp_path: Path, make_element: MakeElement
) -> None:
    make_element(f"place/{name}", {})
    make_element("place/vm", {})
    assert list(load.index((tmp_path / "place",))) == ["vm"]


def test_files_and_broken_symlinks_are_no_elements(tmp_path: Path) -> None:
    (tmp_path / "README").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert load.index((tmp_path,)) == {}


def test_dependencies_are_lines(make_element: MakeElement) -> None:
    path = make_element("vm", {"element-deps": "\n base \nvm\n\nbase\r\nlast"})
    assert load.load(path).depends == ("base", "vm", "last")


def test_an_element_without_files_says_nothing(make_element: MakeElement) -> None:
    element = load.load(make_element("vm", {}))
    assert (element.name, element.depends, element.provides) == ("vm", (), ())
    assert (element.variables, element.early_packages) == ((), False)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("two words", "has white space"),
        ("../x", "has a '/' in it"),
        ("a/b", "has a '/' in it"),
        ("-n", "begins with '-'"),
        ("..", "begins with '.'"),
        ("#base", "looks like a comment"),
        ("a\x00b", "control characters"),
    ],
)
def test_a_bad_name_is_refused_with_its_line(
    line: str, complaint: str, make_element: MakeElement
) -> None:
    path = make_element("vm", {"element-provides": f"base\n\n{line}\n"})
    with pytest.raises(ElementError) as caught:
        load.load(path)
    assert caught.value.where == f"{path}/element-provides:3"
    assert complaint in caught.value.what


def test_a_file_that_is_not_text_is_refused(make_element: MakeElement) -> None:
    path = make_element("vm", {})
    (path / "element-deps").write_bytes(b"\xff\xfe")
    with pytest.raises(ElementError, match="element-deps: is not UTF-8 text"):
        load.load(path)


def test_a_directory_in_the_place_of_a_file_is_refused(make_element: MakeElement) -> None:
    path = make_element("vm", {"element-deps/x": ""})
    with pytest.raises(ElementError, match="element-deps: cannot be read: it is a directory"):
        load.load(path)


ABOUT = """\
summary: A web server
variables:
  WEB_PORT: {type: integer, default: 80, help: where it listens}
  WEB_TLS: {type: boolean, default: true}
  WEB_LEVEL:
    type: choice
    choices: [low, high]
  WEB_NAME:
supports: [debian]
tags: [web]
early-packages: true
"""


def test_an_element_describes_itself(make_element: MakeElement) -> None:
    element = load.load(make_element("web", {"element.yaml": ABOUT}))
    assert (element.summary, element.supports, element.tags) == (
        "A web server",
        ("debian",),
        ("web",),
    )
    assert element.early_packages
    assert element.variables == (
        Variable(name="WEB_LEVEL", type="choice", choices=("low", "high")),
        Variable(name="WEB_NAME"),
        Variable(name="WEB_PORT", type="integer", default="80", help="where it listens"),
        Variable(name="WEB_TLS", type="boolean", default="1"),
    )


def test_an_empty_description_is_allowed(make_element: MakeElement) -> None:
    assert load.load(make_element("web", {"element.yaml": "# nothing\n"})).summary == ""


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("sumary: x\n", "1:1", "unknown key 'sumary'\n  hint: did you mean 'summary'?"),
        ("- x\n", "1:1", "is not of type 'object', 'null'"),
        ("variables:\n  A: {typ: x}\n", "2:7", "unknown key 'typ'\n  hint: did you mean 'type'?"),
        ("variables:\n  A: {type: text}\n", "2:13", "'text' is not one of"),
        ("variables:\n  A B: {}\n", "2:3", "unknown key 'A B'"),
        ("variables:\n  A: {type: choice}\n", "2:6", "'choices' is a required property"),
        (
            "variables:\n  A: {choices: [x]}\n",
            "2:16",
            "hint: Only a variable of 'type: choice'",
        ),
        ("variables:\n  A: {default: 3.10}\n", "2:16", "hint: Put it in quotes"),
        ("variables:\n  A: {type: size, default: big}\n", "2:28", "is not a size"),
        ("early-packages: 'yes'\n", "1:17", "is not of type 'boolean'"),
    ],
)
def test_a_bad_description_is_refused(
    text: str, place: str, what: str, make_element: MakeElement
) -> None:
    path = make_element("web", {"element.yaml": text})
    with pytest.raises(ConfigError) as caught:
        load.load(path)
    assert caught.value.where == f"{path}/element.yaml:{place}"
    assert what in str(caught.value)


def test_an_element_that_only_has_a_name_of_ours_is_not_ours(make_element: MakeElement) -> None:
    assert load.is_ours(load.load(load.builtin() / "vm"))
    assert not load.is_ours(load.load(make_element("vm", {})))


def test_a_list_that_is_a_pipe_is_refused(make_element: MakeElement) -> None:
    element = make_element("mine/piped", {"README": ""})
    os.mkfifo(element / "element-deps")
    with pytest.raises(ElementError, match="element-deps: cannot be read: it is a pipe"):
        load.load(element)

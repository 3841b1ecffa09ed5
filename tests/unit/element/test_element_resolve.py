from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagebuilder.element.load import builtin, index
from imagebuilder.element.resolve import resolve
from imagebuilder.errors import ElementError

MakeElement = Callable[[str, Mapping[str, str]], Path]
Describe = Callable[[Mapping[str, tuple[str, str]]], Mapping[str, Path]]


@pytest.fixture
def describe(tmp_path: Path, make_element: MakeElement) -> Describe:
    """Writes elements, each given as its dependencies and what it provides, and an OS."""

    def write(elements: Mapping[str, tuple[str, str]]) -> Mapping[str, Path]:
        for name, (depends, provides) in {"os": ("", "operating-system"), **elements}.items():
            files = {"element-deps": depends, "element-provides": provides}
            make_element(name, {file: text.replace(" ", "\n") for file, text in files.items()})
        return index((tmp_path,))

    return write


def names(asked: str, found: Mapping[str, Path]) -> list[str]:
    return [element.name for element in resolve(asked.split(), found)]


def test_dependencies_come_before_what_needs_them(describe: Describe) -> None:
    found = describe({"a": ("z", ""), "z": ("m os", ""), "m": ("", "")})
    assert names("a os", found) == ["m", "os", "z", "a"]


def test_elements_are_sorted_where_nothing_else_decides(describe: Describe) -> None:
    found = describe(dict.fromkeys("cab", ("", "")))
    assert names("os c b a", found) == names("a b c os", found) == ["a", "b", "c", "os"]


def test_an_element_named_twice_is_there_once(describe: Describe) -> None:
    assert names("os os", describe({})) == ["os"]


def test_a_provided_element_is_left_out(describe: Describe) -> None:
    found = describe({"vm": ("block", ""), "block": ("junk", ""), "mbr": ("", "block")})
    assert names("vm mbr os", found) == ["mbr", "os", "vm"]


def test_a_provided_element_needs_no_directory(describe: Describe) -> None:
    found = describe({"vm": ("block", ""), "mbr": ("", "block")})
    assert names("vm mbr os", found) == ["mbr", "os", "vm"]


def test_the_provider_may_be_deeper_than_who_needs_it(describe: Describe) -> None:
    found = describe({"vm": ("block", ""), "a": ("b", ""), "b": ("mbr", ""), "mbr": ("", "block")})
    assert names("vm a os", found) == ["mbr", "b", "a", "os", "vm"]


def test_what_provides_a_dependency_comes_first(describe: Describe) -> None:
    assert names("a z os", describe({"a": ("v", ""), "z": ("", "v")})) == ["os", "z", "a"]


def test_elements_may_depend_on_each_other(describe: Describe) -> None:
    found = describe({"x": ("y", ""), "y": ("w", ""), "w": ("x base", ""), "base": ("", "")})
    assert names("x os", found) == ["base", "os", "w", "x", "y"]


def test_an_element_may_depend_on_itself(describe: Describe) -> None:
    assert names("x os", describe({"x": ("x", "")})) == ["os", "x"]


def test_a_missing_dependency_is_asked_for_by_a_file(describe: Describe, tmp_path: Path) -> None:
    found = describe({"vm": ("blok", ""), "block": ("", "")})
    with pytest.raises(ElementError) as caught:
        resolve(("vm", "os"), found)
    assert caught.value.what == "Element 'blok' not found"
    assert caught.value.where == f"{tmp_path}/vm/element-deps"
    assert caught.value.hint == "did you mean 'block'?"
    assert caught.value.exit_status == 2


def test_a_file_of_images_is_not_taken_for_a_mistyped_element(describe: Describe) -> None:
    with pytest.raises(ElementError, match=r"'fleet.yaml' not found\n.*imagebuilder build FILE"):
        resolve(("fleet.yaml",), describe({}))


def test_a_missing_name_is_asked_for_on_the_command_line(describe: Describe) -> None:
    with pytest.raises(ElementError, match=r"^command line: Element 'qqqq' not found\n.*ELEMENTS"):
        resolve(("qqqq", "os"), describe({}))


def test_two_operating_systems_are_both_named(describe: Describe) -> None:
    found = describe({"os2": ("", "operating-system")})
    with pytest.raises(ElementError) as caught:
        resolve(("os2", "os"), found)
    assert caught.value.what == "operating-system: already provided by ['os']"
    assert caught.value.hint == "'os2' provides it too: choose one of them"


def test_a_name_that_another_element_provides_is_refused(describe: Describe) -> None:
    found = describe({"efi": ("", "block"), "block": ("", "")})
    with pytest.raises(ElementError, match=r"block: already provided by \['efi'\]"):
        resolve(("efi", "block", "os"), found)


def test_an_operating_system_is_needed(describe: Describe, tmp_path: Path) -> None:
    found = describe({"vm": ("", ""), "debian-minimal": ("", "operating-system")})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/element-provides").write_bytes(b"\xff")
    with pytest.raises(ElementError, match="Please include an operating system element") as caught:
        resolve(("vm",), index((tmp_path,)))
    assert caught.value.hint == "there are: debian-minimal, os"
    assert found.keys() == {"vm", "debian-minimal", "os"}


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "-x", "", "a\nb", "a\0b", "..", "a b"])
def test_a_name_that_leaves_the_path_is_refused(name: str, describe: Describe) -> None:
    with pytest.raises(ElementError) as caught:
        resolve(("os", name), describe({}))
    assert caught.value.where == "command line"
    assert f"{name!r} is not the name of an element" in caught.value.what


SHOW = """\
import pathlib, sys
from imagebuilder.element import load, resolve
found = load.index((pathlib.Path(sys.argv[1]),))
print(*(element.name for element in resolve.resolve(sys.argv[2:], found)))
"""


def test_the_order_does_not_vary_with_the_hash_seed(describe: Describe, tmp_path: Path) -> None:
    letters = "abcdefgh"
    describe({name: (f"{letters[number * 3 % 8]} os {letters[number * 5 % 7]}", "")
              for number, name in enumerate(letters)})  # fmt: skip
    orders = {
        subprocess.run(
            [sys.executable, "-c", SHOW, str(tmp_path), *random.sample(letters, len(letters))],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(orders) == 1
    assert sorted(orders.pop().split()) == [*letters, "os"]


LETTERS = "abcdef"


@settings(max_examples=60, deadline=None)
@given(
    graph=st.fixed_dictionaries({
        name: st.lists(st.sampled_from(LETTERS), unique=True) for name in LETTERS
    }),
    asked=st.lists(st.sampled_from(LETTERS), unique=True, min_size=1),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_names_gives_the_same_elements(
    tmp_path_factory: pytest.TempPathFactory,
    graph: dict[str, list[str]],
    asked: list[str],
    order: random.Random,
) -> None:
    place = tmp_path_factory.mktemp("elements")
    for name in (*LETTERS, "os"):
        (place / name).mkdir()
        (place / name / "element-deps").write_text("\n".join(graph.get(name, [])))
    (place / "os/element-provides").write_text("operating-system\n")
    found = index((place,))
    first = names(" ".join(("os", *asked)), found)
    order.shuffle(asked)
    assert names(" ".join((*asked, "os")), found) == first
    assert set(first) == reachable(graph, asked) | {"os"}
    for name in first:
        later = first[first.index(name) + 1 :]
        assert all(name in reachable(graph, [d]) for d in graph.get(name, []) if d in later)


def reachable(graph: Mapping[str, list[str]], start: list[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def test_ten_thousand_dependencies_are_no_trouble(describe: Describe) -> None:
    lines = " ".join(["base"] * 5000 + ["os"] * 5000)
    assert names("big", describe({"big": (lines, ""), "base": ("", "")})) == ["base", "os", "big"]


def test_a_long_chain_is_no_trouble(describe: Describe) -> None:
    chain = {f"e{n:04}": (f"e{n + 1:04}", "") for n in range(1500)} | {"e1500": ("os", "")}
    assert names("e0000", describe(chain))[:2] == ["os", "e1500"]


def test_an_element_that_diskimage_builder_had_is_told_what_took_its_place() -> None:
    with pytest.raises(ElementError, match="'deploy-kexec' not found") as caught:
        resolve(["deploy-kexec"], {})
    assert "ironic-python-agent-ramdisk" in caught.value.hint


def test_debian_by_the_name_that_old_command_lines_use_is_debian() -> None:
    found = index((builtin(),))
    by_its_old_name = names("debian-systemd", found)
    assert set(by_its_old_name) == {"debian-systemd", *names("debian", found)}

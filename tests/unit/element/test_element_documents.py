"""Elements of others may have keys in their files that mean nothing; ours may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element import load, packages, pkgmap
from imagebuilder.element.documents import remarks
from imagebuilder.errors import ConfigError

MakeElement = Callable[[str, Mapping[str, str]], Path]
OTHERS = {
    "package-installs.yaml": "a:\n  fase: x\nb:\nb:\n  phase: pre-install.d\n",
    "pkg-map": '{"families": {}, "default": {"a": "1",\n "a": "2"}}',
}


def test_unknown_and_repeated_keys_of_others_are_passed_over(make_element: MakeElement) -> None:
    element = load.load(make_element("e", OTHERS))
    changes = packages.requests([element], {"DISTRO_NAME": "debian"})
    assert [request.names for request in changes["install"].install] == [("2",)]
    assert [request.names for request in changes["pre-install"].install] == [("b",)]


def test_each_is_told_with_its_place(make_element: MakeElement) -> None:
    element = load.load(make_element("e", OTHERS))
    assert [line.removeprefix(f"{element.path}/") for line in remarks([element])] == [
        "package-installs.yaml:4:1: the key 'b' is given twice; the last one counts",
        "package-installs.yaml:2:3: unknown key 'fase', which does nothing"
        " (hint: did you mean 'phase'?)",
        "pkg-map:2:2: the key 'a' is given twice; the last one counts",
        "pkg-map:1:2: unknown key 'families', which does nothing (hint: did you mean 'family'?)",
    ]


def test_elements_that_describe_themselves_are_checked(make_element: MakeElement) -> None:
    path = make_element("e", {**OTHERS, "element.yaml": "summary: x\n"})
    with pytest.raises(ConfigError, match="the key 'b' is given twice"):
        packages.requests([load.load(path)], {"DISTRO_NAME": "debian"})
    with pytest.raises(ConfigError, match="the key 'a' is given twice"):
        pkgmap.load(path / "pkg-map")

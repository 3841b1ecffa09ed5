from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagebuilder.element.pkgmap import flatten, load
from imagebuilder.errors import ConfigError

MakeElement = Callable[[str, Mapping[str, str]], Path]
GOLDEN = Path(__file__).parents[2] / "golden" / "element"
FULL = GOLDEN / "pkg-map"


@pytest.mark.parametrize(
    ("distribution", "release", "expected"),
    [
        ("centos", "8", ("of-release",)),
        ("centos", "8-stream", ("of-release",)),
        ("centos", "9-stream", ("of-distro",)),
        ("rocky", "9", ("of", "family")),
        ("opensuse", "15", ("of-suse",)),
        ("gentoo", "", ()),
        ("debian", "bookworm", ("of-default",)),
        ("arch", "", ("of-default",)),
    ],
)
def test_the_most_specific_section_counts(
    distribution: str, release: str, expected: tuple[str, ...]
) -> None:
    assert load(FULL).names("tool", distribution, release) == expected


def test_a_name_that_is_not_mapped_is_none() -> None:
    assert load(FULL).names("other", "debian", "bookworm") is None


def test_a_section_only_counts_for_the_names_in_it() -> None:
    assert load(FULL).names("common", "centos", "8") == ("common-tool",)


@pytest.mark.parametrize(
    ("distribution", "family"),
    [("almalinux", "redhat"), ("centos", "redhat"), ("fedora", "redhat"), ("openeuler", "redhat"),
     ("rhel", "redhat"), ("rocky", "redhat"), ("debian", "debian"), ("ubuntu", "debian"),
     ("opensuse", "suse"), ("gentoo", "gentoo")],
)  # fmt: skip
def test_distributions_have_families(
    distribution: str, family: str, make_element: MakeElement
) -> None:
    path = make_element("e", {"pkg-map": f'{{"family": {{"{family}": {{"x": "y"}}}}}}'})
    assert load(path / "pkg-map").names("x", distribution, "") == ("y",)


def test_the_flat_form_has_a_line_for_every_entry() -> None:
    assert flatten(load(FULL)) == (GOLDEN / "pkg-map.flat").read_text()


def test_tabs_are_allowed_as_in_json(make_element: MakeElement) -> None:
    path = make_element("e", {"pkg-map": '{\n\t"default": {\n\t\t"x":\t"y"}}\n'})
    assert load(path / "pkg-map").names("x", "debian", "") == ("y",)


def test_null_and_blanks_mean_nothing(make_element: MakeElement) -> None:
    path = make_element("e", {"pkg-map": '{"default": {"x": null, "y": "  "}}'})
    assert load(path / "pkg-map").names("x", "", "") == load(path / "pkg-map").names("y", "", "")
    assert load(path / "pkg-map").names("x", "", "") == ()


def test_a_key_that_begins_with_an_underscore_is_a_comment(make_element: MakeElement) -> None:
    path = make_element("e", {"pkg-map": '{"_comment": "anything", "default": {}}'})
    assert flatten(load(path / "pkg-map")) == ""


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('{"families": {}}', "1:2", "unknown key 'families'\n  hint: did you mean 'family'?"),
        ('{"default":\n {"x": 3}}', "2:8", "3 is not of type 'string', 'null'"),
        ('{"default": {"a b": "c"}}', "1:14", "unknown key 'a b'"),
        ('{"family": {"redhat": "x"}}', "1:23", "is not of type 'object'"),
        ('{"default": {}', "1:15", "is not valid YAML"),
        ("", "", "None is not of type 'object'"),
    ],
)
def test_a_bad_map_is_refused(text: str, place: str, what: str, make_element: MakeElement) -> None:
    path = make_element("e", {"pkg-map": text, "element.yaml": "summary: x\n"}) / "pkg-map"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.where == (f"{path}:{place}" if place else str(path))
    assert what in str(caught.value)

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder.errors import ConfigError
from imagebuilder.schema import check, parse, read

ELEMENT = "element/schemas/element.json"


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, where="f")
    return caught.value


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/x: cannot be read: No such file or directory"):
        read(tmp_path / "x")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="/x: is not UTF-8 text"):
        read(tmp_path / "x")


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a: [1, b]\n")
    document = read(tmp_path / "x")
    assert (document.value, document.where) == ({"a": [1, "b"]}, str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("a: 1\nb: [\n", "f:3:1", "is not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "f:3:1", "the key 'a' is given twice"),
        ('{"a": 1,\n "a": 2}', "f:2:2", "the key 'a' is given twice"),
        ("a:\n\tb: 1\n", "f:2:1", "found character '\\t'"),
        ("a: *b\n", "f:1:4", "found undefined alias 'b'"),
        ("a: &b [*b]\n", "f:1:4", "recursive"),
        ("a: 1\n---\nb: 1\n", "f:2:1", "but found another document"),
        ("!!python/name:os.system x\n", "f:1:1", "could not determine a constructor"),
        ("? [a]\n: b\n", "f:1:3", "unhashable key"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(text: str, place: str, what: str) -> None:
    error = refused(text)
    assert error.where == place
    assert what in error.what


@pytest.mark.parametrize(
    "text",
    ["a: \x01", "a: !!int x", "a: !!bool x", "a: !!timestamp x", "a: 0x_", "\N{BOM}a: \N{BOM}: ["],
)
def test_odd_scalars_are_refused_and_not_raised(text: str) -> None:
    assert "is not valid YAML" in refused(text).what


@pytest.mark.parametrize("text", ["[" * 5000, "[" * 3000 + "]" * 3000])
def test_a_document_that_is_too_deep_is_refused(text: str) -> None:
    assert refused(text).what == "is nested too deeply"


def test_a_document_that_contains_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="f: is nested too deeply"):
        check(parse("&x [*x]", where="f"), ELEMENT)


def test_an_empty_document_is_nothing() -> None:
    assert parse("# only a comment\n", where="f").value is None


def test_mappings_may_be_merged_in() -> None:
    document = parse("x: &a {b: 1, c: 2}\ny:\n  <<: *a\n  b: 3\n", where="f")
    assert document.value["y"] == {"b": 3, "c": 2}
    assert document.place(("y", "b")) == "f:4:6"
    assert document.place(("y", "c")) == "f:1:17"


@pytest.mark.parametrize("text", ["2024-01-31", "=", "2024-13-45"])
def test_dates_and_equals_signs_are_text(text: str) -> None:
    assert parse(f"a: {text}\n", where="f").value == {"a": text}


def test_json_with_tabs_keeps_its_places() -> None:
    document = parse('{\n\t"a": {\n\t\t"b": 1}}', where="f")
    assert document.value == {"a": {"b": 1}}
    assert document.place(("a", "b")) == "f:3:8"


KEYS = st.text(max_size=80)  # YAML ends at 1024 characters, with their escapes


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda values: st.lists(values) | st.dictionaries(KEYS, values),
    )
)
def test_json_means_what_it_means_as_json(value: Any) -> None:
    document = {"value": value}
    assert parse(json.dumps(document, indent="\t"), where="f").value == document


@given(st.text())
def test_any_text_is_a_document_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse(text, where="f").where == "f"


DOCUMENT = parse("a:\n  - b: 1\n  - c: {d: e}\n", where="f")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), "f:1:1"),
        (("a", 0, "b"), "f:2:8"),
        (("a", 1, "c", "d"), "f:3:12"),
        (("a", 1, "x", "d"), "f:3:5"),
        (("a", 9), "f:2:3"),
    ],
)
def test_values_have_places(path: tuple[str | int, ...], place: str) -> None:
    assert DOCUMENT.place(path) == place


def test_keys_have_places() -> None:
    assert DOCUMENT.key_place(("a", 1, "c"), "d") == "f:3:9"
    assert DOCUMENT.key_place(("a", 1, "c"), "x") == "f:3:8"


def test_what_satisfies_the_schema_is_returned() -> None:
    assert check(parse("summary: x\n", where="f"), ELEMENT) == {"summary": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "summary: x\nvariables:\n  A:\n    hepl: x\n",
            "f:4:5: in 'variables.A': unknown key 'hepl'\n  hint: did you mean 'help'?",
        ),
        (
            "zzz: 1\n",
            "f:1:1: unknown key 'zzz'\n"
            "  hint: known keys: attached-disk, cacheable, early-packages, existing-disk, replaces,"
            " summary, supports, tags, variables",
        ),
        (
            "tags: [web, [x]]\n",
            "f:1:13: in 'tags.1': ['x'] is not of type 'string'",
        ),
        ("summary: x\n1: y\n", "f:2:4: the key 1 is not text\n  hint: quote it"),
        ("tags: []\nvariables: {yes: {}}\n", "f:2:12: the key True is not text\n  hint: quote it"),
    ],
)  # fmt: skip
def test_what_does_not_satisfy_it_is_refused_with_place_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(parse(text, where="f"), ELEMENT)
    assert str(caught.value) == message


def test_aliases_of_aliases_are_refused_at_once() -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    document = parse("\n".join(("a0: &a0 x", *lines)), where="f")
    with pytest.raises(ConfigError, match="f: stands for more than 1000000 values"):
        check(document, ELEMENT)


def test_a_message_is_no_longer_than_people_read() -> None:
    with pytest.raises(ConfigError) as caught:
        check(parse(f"summary: [{'x, ' * 5000}x]", where="f"), ELEMENT)
    assert "is not of type 'string'" in str(caught.value)
    assert len(str(caught.value)) < 600

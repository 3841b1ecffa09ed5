from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder.element.environment import (
    LAUNCH,
    Settled,
    check,
    check_required,
    defaults,
    parse,
    pieces,
    prologue,
    redact,
    secrets,
)
from imagebuilder.element.load import load
from imagebuilder.element.model import Element, Variable
from imagebuilder.errors import ConfigError

MakeElement = Callable[[str, Mapping[str, str]], Path]
GOLDEN = Path(__file__).parents[2] / "golden" / "element"


@dataclass(frozen=True)
class Answer:
    status: int
    output: str
    errors: str
    variables: dict[str, str]


Source = Callable[[Mapping[str, str]], Answer]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Runs bash with the prologue for files, which it writes first."""

    def run(files: Mapping[str, str]) -> Answer:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        block = tmp_path / "answer"
        with block.open("wb") as answer:
            done = subprocess.run(
                [
                    *("bash", "-c", f"exec 3>&{answer.fileno()}\n{LAUNCH}", "program", "its word"),
                    *pieces(prologue(str(tmp_path), list(files))),
                ],
                env={"PATH": os.environ["PATH"], "GIVEN": "yes"},
                pass_fds=(answer.fileno(),),
                capture_output=True,
                text=True,
                check=False,
            )
        return Answer(
            done.returncode, done.stdout, done.stderr, parse(block.read_bytes()).variables
        )

    return run


def test_the_program_is_short_and_quotes_names() -> None:
    text = prologue("/hooks/it's here", ("10-a", "11-b.bash"))
    assert text == (GOLDEN / "prologue.bash").read_text()


def test_thousands_of_files_can_be_sourced(source: Source) -> None:
    files = {f"10-{'x' * 50}-{number}": "N=$((${N:-0} + 1))\n" for number in range(3000)}
    assert source({**files, "20-last": "export N\n"}).variables["N"] == "3000"


def test_files_find_a_shell_as_bash_begins_with(source: Source) -> None:
    text = """export SEEN="$0|$#|$1|$(printf %q "$IFS")"\n"""
    assert source({"10-a": text}).variables["SEEN"] == r"program|1|its word|$' \t\n'"


def test_exported_variables_are_kept_from_file_to_file(source: Source) -> None:
    answer = source({"10-a": "export A=1\nB=2\n", "11-b": 'export C="$A$B$GIVEN"\necho noise\n'})
    assert answer.variables | {"PATH": ""} == {"A": "1", "C": "12yes", "GIVEN": "yes", "PATH": ""}
    assert (answer.status, answer.output, answer.errors) == (0, "noise\n", "")


def test_values_may_have_newlines(source: Source) -> None:
    assert source({"10-a": "export A=$'x\\ny=z\\n'"}).variables["A"] == "x\ny=z\n"


def test_exported_functions_are_kept(source: Source) -> None:
    variables = source({"10-a": "f() { echo hi; }\nexport -f f\n"}).variables
    assert "echo hi" in variables["BASH_FUNC_f%%"]


def test_a_file_may_return(source: Source) -> None:
    assert source({"10-a": "export A=1\nreturn\nexport A=2\n"}).variables["A"] == "1"


def test_a_file_may_break_the_path(source: Source) -> None:
    assert source({"10-a": "export PATH=/nowhere\n"}).variables["PATH"] == "/nowhere"


@pytest.mark.parametrize(
    ("text", "status"),
    [("false\n", 1), ("(exit 7)\n", 7), ("exit 7\n", 7), ("return 3\n", 3), ("exit 0\n", 1),
     ("false | true\n", 1), ("if\n", 2)],
)  # fmt: skip
def test_a_file_that_fails_is_named(text: str, status: int, source: Source) -> None:
    answer = source({"10-good": "export A=1\n", "20-bad": text, "30-later": "echo later\n"})
    assert answer.status == status
    assert "environment.d/20-bad failed with status" in answer.errors
    assert (answer.output, answer.variables) == ("", {})


def test_a_file_that_calls_exit_is_told_so(source: Source) -> None:
    assert "environment.d/10-a calls exit, which ends" in source({"10-a": "exit 0\n"}).errors


def test_an_unset_variable_is_named_by_bash(source: Source) -> None:
    assert "NOT_SET: unbound variable" in source({"10-a": "echo $NOT_SET\n"}).errors


def test_secrets_are_not_traced(source: Source) -> None:
    answer = source({"10-a": "set -x\n", "11-b": "export A=hidden\n"})
    assert answer.variables["A"] == "hidden"
    assert "hidden" not in answer.errors


def test_bashs_own_variables_are_dropped() -> None:
    block = (
        b"_=/usr/bin/env\0SHLVL=1\0PWD=/\0OLDPWD=/x\0B=2=3\0A=\xff\0E=\0BASH_FUNC_f%%=() { :\n}\0"
    )
    assert parse(block).variables == {
        "A": "\udcff",
        "B": "2=3",
        "BASH_FUNC_f%%": "() { :\n}",
        "E": "",
    }


def test_an_empty_answer_has_no_variables() -> None:
    assert parse(b"") == Settled(variables={})


def element(*variables: Variable, path: Path = Path("/e")) -> Element:
    return Element(name="e", path=path, variables=variables)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("boolean", ("0", "1", "true", "False", "YES", "no"), ("2", "on", "y")),
        ("integer", ("0", "-5", "+7"), ("1.5", "one", "0x1", "٣")),
        ("size", ("512MiB", "1.5 GiB", "100"), ("big", "5 miles", "-1")),
        ("path", ("/etc/x", "relative"), ("two\nlines",)),
        ("url", ("https://h/p", "file:///x", "cdrom:x"), ("host/path", "//x", "http: //x", "a:")),
        ("list", ("a b", "x"), ()),
        ("string", ("anything at\nall",), ()),
    ],
)
def test_a_variable_is_what_it_is_declared_to_be(
    kind: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    elements = (element(Variable(name="X", type=kind)),)
    for value in good:
        check(elements, {"X": value})
    for value in bad:
        with pytest.raises(ConfigError, match=r"^/e/element\.yaml: X=.* is not "):
            check(elements, {"X": value})


def test_a_choice_is_one_of_its_choices(make_element: MakeElement) -> None:
    text = "variables:\n  X: {}\n  LEVEL: {type: choice, choices: [low, high]}\n"
    path = make_element("e", {"element.yaml": text})
    with pytest.raises(ConfigError) as caught:
        check((load(path),), {"LEVEL": "hihg"})
    assert str(caught.value) == (
        f"{path}/element.yaml:3:10: LEVEL='hihg' is not one of low, high\n"
        "  hint: did you mean 'high'?"
    )


def test_the_hint_is_the_help_of_the_variable() -> None:
    with pytest.raises(ConfigError, match="hint: how much to spare"):
        check((element(Variable(name="X", type="size", help="how much to spare")),), {"X": "?"})


def test_a_choice_that_only_rhymes_is_no_hint() -> None:
    release = Variable(name="X", type="choice", choices=("jammy", "kinetic"), help="the release")
    with pytest.raises(ConfigError, match=r"is not one of jammy, kinetic\n  hint: the release"):
        check((element(release),), {"X": "bionic"})


def test_a_secret_is_not_shown_when_it_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"X=\*\*\* is not a whole number"):
        check((element(Variable(name="X", type="integer", secret=True)),), {"X": "hush"})


def test_an_empty_value_counts_as_not_set() -> None:
    check((element(Variable(name="X", type="integer")),), {"X": ""})


@pytest.mark.parametrize("environment", [{}, {"X": ""}])
def test_a_required_variable_must_be_set(environment: dict[str, str]) -> None:
    elements = (element(Variable(name="X", required=True, help="who owns it")),)
    with pytest.raises(
        ConfigError, match="X is not set, and element 'e' needs it\n  hint: who own"
    ):
        check_required(elements, environment)


def test_a_default_satisfies_what_is_required() -> None:
    check_required((element(Variable(name="X", required=True, default="x")),), {})


def test_the_last_default_counts() -> None:
    first = element(Variable(name="X", default="1"), Variable(name="Y", default="2"))
    assert defaults((first, element(Variable(name="X", default="3"), Variable(name="Z")))) == {
        "X": "3",
        "Y": "2",
    }


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("REG_PASSWORD", "hunter22", True),
        ("REG_PASSWORD", "/slash", True),
        ("DB_PASSWD", "hunter22", True),
        ("GIT_TOKEN", "hunter22", True),
        ("TOKEN", "hunter22", True),
        ("x_secret", "hunter22", True),
        ("SAT_KEY", "hunter22", True),
        ("SAT_KEY", "/etc/key", False),
        ("CLOUD_CREDENTIALS", "hunter22", True),
        ("CLOUD_CREDENTIALS", "/etc/cloud", False),
        ("SSH_KEYS", "hunter22", False),
        ("APT_KEYRING", "hunter22", False),
        ("MONKEY", "hunter22", False),
        ("REG_PASSWORD", "abc", False),
        ("DECLARED", "/hunter", True),
    ],
)
def test_secrets_are_found_by_name_or_declaration(name: str, value: str, is_secret: bool) -> None:  # ruff: ignore[boolean-type-hint-positional-argument] - pytest names it
    elements = (element(Variable(name="DECLARED", secret=True)),)
    assert secrets(elements, {name: value}) == ({value} if is_secret else frozenset())


def test_every_line_of_a_secret_is_secret() -> None:
    found = secrets((), {"A_KEY": "begin\nmiddle\n\nend"})
    assert found == {"begin\nmiddle\n\nend", "begin", "middle"}


def test_a_key_that_is_declared_to_be_no_secret_is_shown() -> None:
    elements = (element(Variable(name="A_KEY", secret=False), Variable(name="B_KEY")),)
    assert secrets(elements, {"A_KEY": "ABCD1234", "B_KEY": "EFGH5678"}) == {"EFGH5678"}


def test_the_longest_secret_is_hidden_first() -> None:
    assert redact("pass password pa.s", {"pass", "password", "pa.s"}) == "*** *** ***"


def test_without_secrets_the_text_stays() -> None:
    assert redact("text", ()) == "text"


@given(st.text(), st.frozensets(st.text(min_size=4, alphabet="abc+.")))
def test_no_secret_survives(text: str, hidden: frozenset[str]) -> None:
    shown = redact(" ".join((text, *sorted(hidden))), hidden)
    assert not any(secret in part for part in shown.split("***") for secret in hidden)

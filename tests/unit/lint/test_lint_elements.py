"""Every rule of `imagebuilder lint` finds what it is for, and nothing in an element without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from imagebuilder import process
from imagebuilder.cli import verbs
from imagebuilder.element import load, scaffold
from imagebuilder.lint.lint import lint
from imagebuilder.lint.model import RULES, Finding
from imagebuilder.process import Recorder

BASH = "#!/bin/bash\nset -eu -o pipefail\n"
README = "=\nx\n=\n"
CASES: tuple[tuple[str, Mapping[str, str], str, str], ...] = (
    # rule, files of the element 'one', where it is found, part of what is said
    ("document", {"package-installs.yaml": "a:\n  phases: x\n"}, "package-installs.yaml:2:3",
     "unknown key 'phases'"),
    ("document", {"pkg-map": "{"}, "pkg-map:1:2", "not valid YAML"),
    ("document", {"svc-map": "[]\n"}, "svc-map:1:1", "not of type"),
    ("document", {"element.yaml": "sumary: x\n"}, "element.yaml:1:1", "unknown key 'sumary'"),
    ("document", {"element-deps": "a b\n"}, "element-deps:1", "white space"),
    ("dependency", {"element-deps": "two\nthree\n"}, "element-deps:2", "'three' not found"),
    ("shebang", {"install.d/50-x": "echo\n"}, "install.d/50-x:1", "without '#!'"),
    ("shebang", {"install.d/50-x": "#!/bin/bash\r\nset -e\r\n"}, "install.d/50-x:1", "carriage"),
    ("set-e", {"install.d/50-x": "#!/bin/bash\ntrue\n"}, "install.d/50-x", "goes on after"),
    ("ignored-hook", {"install.d/50-x.sh": BASH}, "install.d/50-x.sh", "a dot in its name"),
    ("unknown-name", {"finalize.d/50-x": BASH}, "finalize.d", "nothing reads this"),
    ("unknown-name", {"elements-deps": "two\n"}, "elements-deps", "nothing reads this"),
    ("consumer", {"static/etc/x": "x\n"}, "static", "'install-static'"),
    ("consumer", {"source-repository-x": "x git /x https://x\n"}, "source-repository-x",
     "'source-repositories'"),
    ("source", {"source-repository-x": "# x\nx git /x\n"}, "source-repository-x:2", "3 fields"),
    ("source", {"source-repository-x": "x hg /x https://x\n"}, "source-repository-x:1",
     "'hg' is no type"),
    ("package", {"package-installs.yaml": "a:\n  phase: root.d\n"}, "package-installs.yaml:2:10",
     "never is"),
    ("package", {"package-installs.yaml": "a:\n  uninstall: false\n"},
     "package-installs.yaml:2:14", "removes a"),
    ("pkg-map", {"pkg-map": '{"default": {}}'}, "pkg-map", "maps nothing"),
    ("pkg-map", {"pkg-map": '{"default": {"a": "b"}}', "package-installs.yaml": "ab:\n"},
     "pkg-map:1:14", "nothing in the element asks for"),
    ("pkg-map", {"pkg-map": '{"family": {"redhut": {"a": "b"}}}', "package-installs.yaml": "a:\n"},
     "pkg-map:1:13", "'redhut' is no family"),
    ("variable", {"install.d/50-x": BASH + 'echo "$DIB_THING"\n'}, "install.d/50-x:3", "DIB_THING"),
    ("variable", {"environment.d/50-x": "export A=${OTHER_THING:-}\n"}, "environment.d/50-x:1",
     "OTHER_THING"),
    ("environment", {"environment.d/50-x": "set -x\n"}, "environment.d/50-x:1", "passwords"),
    ("environment", {"environment.d/50-x": "[ -z x ] || exit 0\nexit\n"}, "environment.d/50-x:2",
     "ends the shell"),
    ("readme", {"README.rst": ""}, "", "no README"),
    ("duplicate-hook", {"install.d/50-two": BASH}, "install.d/50-two", "the element 'two'"),
)  # fmt: skip
FINE: tuple[Mapping[str, str], ...] = (
    {"install.d/50-x": BASH + 'for NAME in a; do echo "$NAME $ARCH $DIB_TWO"; done\n',
     "element-deps": "two\n"},
    {"install.d/50-x": BASH + "read -r LINE\nMINE=1; export OURS\necho $LINE $MINE $OURS\n"},
    {"install.d/50-x": BASH + 'echo "$DIB_NAMED"\n', "README.rst": "DIB_NAMED\n  a name\n"},
    {"install.d/50-x": BASH + "perl -e 'print $ENV{x}'; echo $DIB_TWO\n"},
    {"install.d/50-x": BASH + "# $DIB_COMMENT\necho \\$DIB_QUOTED\n"},
    {"install.d/50-x": BASH + "# imagebuilder-lint: disable=variable\necho $DIB_X\n"},
    {"install.d/package-installs-one": "curl\n", "element-deps": "package-installs\n"},
    {"install.d/x.conf": "x\n", "install.d/50-x": BASH + 'cp "$(dirname "$0")/x.conf" /etc\n'},
    {"environment.d/50-x.bash": "export X_Y=1\nexit 3\n"},
    {"install.d/50-x": "#!/usr/bin/env python3\n"},
    {"install.d/50-x": "#!/bin/sh -e\n"},
    {"install.d/50-two": BASH, "element.yaml": "summary: x\nreplaces: [install.d/50-two]\n"},
)  # fmt: skip


@pytest.fixture
def elements(tmp_path: Path) -> Path:
    """A directory with the elements `two` and `package-installs`."""
    write(tmp_path / "package-installs", {"README.rst": README})
    write(tmp_path / "two", {
        "README.rst": README,
        "install.d/50-two": BASH,
        "environment.d/50-two": "export DIB_TWO=${DIB_TWO:-2}\n",
        "element.yaml": "variables: {DIB_TWO: }\n",
    })  # fmt: skip
    return tmp_path


def write(element: Path, texts: Mapping[str, str]) -> Path:
    for name, text in texts.items():
        file = element / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        file.chmod(0o755 if "/5" in name and "environment" not in name else 0o644)
    return element


def found(elements: Path, *names: str) -> list[Finding]:
    return list(lint([elements / name for name in names], [elements], Recorder()))


@pytest.mark.parametrize(("rule", "files", "where", "what"), CASES)
def test_a_rule_finds(
    elements: Path, rule: str, files: Mapping[str, str], where: str, what: str
) -> None:
    one = write(elements / "one", {"README.rst": README, **files})
    if rule == "readme":
        (one / "README.rst").unlink()
    findings = [f for f in found(elements, "one") if f.rule == rule]
    assert [f.where for f in findings] == [str(one / where) if where else str(one)]
    assert what in findings[0].what
    assert findings[0].hint or rule == "document"


@pytest.mark.parametrize("files", FINE)
def test_nothing_is_found_where_nothing_is_wrong(elements: Path, files: Mapping[str, str]) -> None:
    write(elements / "one", {"README.rst": README, **files})
    assert not found(elements, "one")


def test_every_rule_is_tested() -> None:
    assert {rule for rule, *_ in CASES} | {"syntax", "shellcheck"} == RULES.keys()


def test_two_operating_systems_may_have_the_same_hook(elements: Path) -> None:
    """No build can have both."""
    for name in ("one", "other"):
        write(elements / name, {
            "README.rst": README, "element-provides": "operating-system\n", "install.d/50-x": BASH,
        })  # fmt: skip
    assert not found(elements, "one", "other")


def test_elements_for_different_distributions_may_have_the_same_hook(elements: Path) -> None:
    for name in ("apt", "dnf"):
        write(elements / name, {
            "README.rst": README, "element.yaml": f"supports: [of-{name}]\n", "bin/install": BASH,
        })  # fmt: skip
        (elements / name / "element-deps").write_text("install-bin\n")
    write(elements / "install-bin", {"README.rst": README})
    assert not found(elements, "apt", "dnf")


def test_a_broken_script_is_found_by_bash_itself(elements: Path) -> None:
    one = write(elements / "one", {"README.rst": README, "install.d/50-x": BASH + "if true\n"})
    (finding,) = lint([one], [elements], process.run)
    assert (finding.rule, finding.where) == ("syntax", f"{one}/install.d/50-x:4")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck_is_asked_where_it_is_installed(elements: Path) -> None:
    one = write(elements / "one", {"README.rst": README, "install.d/50-x": BASH + "cd /x$(:)y z\n"})
    findings = lint([one], [elements], process.run)
    assert [(f.rule, f.where) for f in findings] == [("shellcheck", f"{one}/install.d/50-x:3")]
    assert all(f.what.startswith("SC") for f in findings)


def test_a_new_element_has_no_faults_and_no_strange_hook_name(elements: Path) -> None:
    element = write(elements / "my.app", scaffold.files("my.app"))
    for path in scaffold.files("my.app"):
        (element / path).chmod(0o755 if scaffold.is_program(path) else 0o644)
    assert not found(elements, "my.app")


def test_the_status_says_whether_there_are_errors(
    elements: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELEMENTS_PATH", str(elements))
    one = write(elements / "one", {"install.d/50-x": "#!/bin/bash -e\n"})
    assert verbs.main(["lint", "one", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["rule"], entry["severity"], entry["where"]) == ("readme", "warning", str(one))
    assert verbs.main(["lint", "--strict"]) == 1
    assert f"{one}: warning: has no README.rst [readme]\n  hint: " in capsys.readouterr().out
    write(one, {"element-deps": "nothing\n"})
    assert verbs.main(["lint", str(one)]) == 1
    assert verbs.main(["lint", "nonesuch"]) == 2
    assert "'nonesuch'" in capsys.readouterr().err


def test_a_new_element_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verbs.main(["element", "new", "web"]) == 0
    assert (tmp_path / "elements/web/install.d/50-web").stat().st_mode & 0o111
    assert "elements/web/README.rst" in capsys.readouterr().out
    assert verbs.main(["element", "new", "web"]) == 2
    assert verbs.main(["element", "new", "../web"]) == 2


def test_a_directory_of_elements_is_told_from_an_element(
    elements: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have a README of its own; an element may have nothing else."""
    write(elements, {"README.rst": README})
    (elements / "two/README.rst").unlink()
    write(elements / "marker", {"README": README})
    write(elements / "pkg-map", {"README": README})
    assert verbs.main(["lint", str(elements), "--strict"]) == 1
    assert f"{elements}/two: warning: has no README.rst" in capsys.readouterr().out
    monkeypatch.chdir(elements)
    assert verbs.main(["lint", "./marker", "--strict"]) == 0


def test_names_are_those_of_all_directories_and_the_default_is_those_of_the_path(
    elements: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELEMENTS_PATH", f"{load.builtin()}:{elements}")
    assert verbs.main(["lint", "vm"]) == 0
    assert capsys.readouterr().err.startswith("1 elements: ")
    monkeypatch.setenv("ELEMENTS_PATH", str(elements))
    assert verbs.main(["lint", "vm", "two"]) == 0
    assert capsys.readouterr().err.startswith("2 elements: ")
    assert verbs.main(["lint"]) == 0
    assert capsys.readouterr().err.startswith("2 elements: ")

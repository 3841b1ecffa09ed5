"""dib-lint's rules are diskimage-builder's, and are switched off in the same ways."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imagebuilder.cli import dib_lint
from imagebuilder.element import scaffold

GOOD = """\
#!/bin/bash
if [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then
    set -x
fi
set -eu
set -o pipefail
"""
CASES: tuple[tuple[str, str, str, str], ...] = (
    # file, its text, the rule's name if it has one, what is said
    ("install.d/50-x", GOOD, "executable", "{} is not executable"),
    ("install.d/51-x", GOOD + "  true\n", "indent", "{} should use 4 spaces indent\n7:  true"),
    ("element-deps", "b\na\n", "", "{} is not sorted alphabetically"),
    ("install.d/51-x", GOOD.replace("/bin/", "/usr/bin/"), "", "{} : only use #!/bin/bash"),
    ("install.d/51-x", GOOD.replace("set -eu", "set -u"), "sete", "{} is not set -e"),
    ("install.d/51-x", GOOD.replace("set -eu", "set -e"), "setu", "{} is not set -u"),
    ("install.d/51-x", GOOD.replace("set -o pipefail\n", ""), "setpipefail",
     "{} is not set -o pipefail"),
    ("install.d/51-x", GOOD.replace("DIB_DEBUG_TRACE", "T"), "dibdebugtrace",
     "{} does not follow DIB_DEBUG_TRACE"),
    ("environment.d/50-x", "set -x\n", "", "Environment file {} should not set tracing"),
    ("environment.d/51-x", "true\n", "", "Environment file {} should not be marked as executable"),
    ("install.d/51-x", GOOD + "export A=$(true)\n", "", "Split export and assignments in {}"),
    ("root.d/51-x", GOOD + "sudo rm /x\n", "safe_sudo",
     "{} : potentially unsafe sudo\n -- sudo rm /x"),
    ("pre-finalise.d/51-x", GOOD + "sudo rm /x\n", "safe_sudo", "{} : potentially unsafe sudo"),
    ("install.d/51-x", GOOD + "x=$(which ls)\n", "which", "{} : potential use of which"),
    ("install.d/51-x", GOOD + "if true; then\n\ttrue\nfi\n", "tabindent",
     "{} contains tab characters"),
    ("install.d/51-x", GOOD + "true", "newline", "No newline at end of file: {}"),
    ("source-repository-x", "x git /x https://x", "", "{} does not end with a newline"),
    ("notes.md", "x\n", "mddocs", ".md docs found: {}"),
    ("x.yaml", "a: [\n", "", "{} is not a valid YAML file"),
    ("pkg-map", "{", "", "{} is not a valid JSON file"),
)  # fmt: skip
FINE = (
    (
        "root.d/51-x",
        GOOD + "sudo rm \\\n    $TARGET_ROOT/x\nsudo ls  # dib-lint: safe_sudo\n# sudo\n",
    ),
    ("root.d/51-x", GOOD + "install-packages sudo less\n"),
    ("install.d/51-x", GOOD + "which ls  # dib-lint: which\n    # which is\necho whichever\n"),
    ("install.d/51-x", GOOD.replace("set -eu\nset -o pipefail", "set -euo pipefail")),
    ("element-deps", "# z\na\n\nb\n"),
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, which is the current directory, with an element `one`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELEMENTS_DIR", "elements")
    put(tmp_path, "README.rst", "x\n")
    return tmp_path


def put(repository: Path, name: str, text: str) -> None:
    """Write a file of the element; those whose number is 51 become executable."""
    file = repository / "elements/one" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755 if "/51" in name else 0o644)


@pytest.mark.parametrize(("name", "text", "rule", "said"), CASES)
def test_a_rule_finds_and_can_be_left_out(
    repository: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, rule: str, said: str
) -> None:
    put(repository, name, text)
    assert dib_lint.main([]) == 1
    output = capsys.readouterr().out
    assert f"ERROR: {said.format(f'elements/one/{name}')}" in output
    assert output.count("ERROR: ") == 1
    assert output.startswith(f"Running dib-lint in {repository}\n")
    assert output.endswith("*** FAIL: Some tests failed!\n")
    if rule and rule != "mddocs":
        put(repository, name, text.replace("\n", f"\n# dib-lint: disable={rule} x\n", 1))
        assert dib_lint.main([]) == 0
        put(repository, name, text)
    if rule:
        (repository / "tox.ini").write_text(f"[dib-lint]\nignore = x {rule}\n")
        assert dib_lint.main([]) == 0
        assert capsys.readouterr().out.endswith("PASS\n")


@pytest.mark.parametrize(("name", "text"), FINE)
def test_nothing_is_found_where_nothing_is_wrong(repository: Path, name: str, text: str) -> None:
    put(repository, name, text)
    assert dib_lint.main([]) == 0


def test_an_element_without_a_readme_is_found(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "elements/one/README.rst").unlink()
    assert dib_lint.main([]) == 1
    assert "ERROR: elements/one lacks a README.rst" in capsys.readouterr().out


def test_the_library_is_looked_at_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIB_DIR", "lib")
    (repository / "lib").mkdir()
    (repository / "lib/functions").write_text("x() {\n\ttrue\n}\n")
    assert dib_lint.main([]) == 1
    assert "ERROR: lib/functions contains tab characters" in capsys.readouterr().out


def test_python_is_left_to_flake8(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(repository, "bin/51-x", "#!/usr/bin/env python3\nimport os\n")
    assert dib_lint.main([]) == 1
    said = "failed flake8" if shutil.which("flake8") else "flake8 is not installed"
    assert said in capsys.readouterr().out


def test_flake8_of_a_virtual_environment_counts(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(repository, "bin/51-x", "#!/usr/bin/env python3\nimport os\n")
    program = repository / "venv/flake8"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho F401 of the venv; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert dib_lint.main([]) == 1
    assert "F401 of the venv" in capsys.readouterr().out


def test_a_missing_directory_is_an_error(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELEMENTS_DIR", str(repository / "none"))
    assert dib_lint.main([]) == 1
    assert "ELEMENTS_DIR" in capsys.readouterr().err


def test_a_new_element_has_no_faults(repository: Path) -> None:
    for path, text in scaffold.files("one").items():
        put(repository, path, text)
        if scaffold.is_program(path):
            (repository / "elements/one" / path).chmod(0o755)
    assert dib_lint.main([]) == 0


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_what_git_ignores_is_not_looked_at(repository: Path) -> None:
    put(repository, "install.d/50-x", GOOD)
    assert dib_lint.main([]) == 1
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    (repository / ".gitignore").write_text("50-*\n")
    assert dib_lint.main([]) == 0

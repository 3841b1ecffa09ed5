"""Content ids: they change with what a phase depends on, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagebuilder.options import parse
from imagebuilder.plan import digest, make

FILES = {
    "os/element-provides": "operating-system\n",
    "os/root.d/10-root": "#!/bin/bash\n",
    "app/install.d/50-app": "#!/bin/bash\n",
    "app/finalise.d/50-app": "#!/bin/bash\n",
    "app/package-installs.yaml": "curl:\n",
    "app/element.yaml": "variables: {APP_TOKEN: {type: string, secret: true}}\n",
    "app/data/file": "data\n",
}


@pytest.fixture(autouse=True)
def elements(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if ".d/" in name else 0o644)
    return tmp_path


def steps(elements: Path, *words: str, **variables: str) -> dict[str, digest.StepId]:
    environment = {"ELEMENTS_PATH": str(elements), **variables}
    draft = make.draft(parse(("-n", "os", "app", *words), environment))
    return {step.phase: step for step in digest.chain(make.finish(draft, draft.variables), {})}


def changed(elements: Path, name: str, text: str) -> set[str]:
    """The phases whose id another content of a file changes."""
    before = steps(elements)
    (elements / name).write_text(text)
    after = steps(elements)
    return {phase for phase, step in after.items() if step.id != before[phase].id}


def test_only_phases_with_something_to_do_are_steps(elements: Path) -> None:
    assert list(steps(elements)) == ["root", "install", "finalise"]


def test_a_hook_changes_its_phase_and_those_after_it(elements: Path) -> None:
    assert changed(elements, "app/finalise.d/50-app", "#!/bin/sh\n") == {"finalise"}
    assert changed(elements, "app/install.d/50-app", "#!/bin/sh\n") == {"install", "finalise"}


def test_data_that_every_hook_can_see_changes_everything(elements: Path) -> None:
    assert changed(elements, "app/data/file", "other\n") == {"root", "install", "finalise"}


def test_a_mode_counts_and_a_time_does_not(elements: Path) -> None:
    before = steps(elements)
    os.utime(elements / "app/data/file", (1, 1))
    assert steps(elements) == before
    (elements / "app/data/file").chmod(0o755)
    assert steps(elements)["root"].id != before["root"].id


def test_packages_count_where_they_are_installed(elements: Path) -> None:
    before, after = steps(elements), steps(elements, "-p", "nano")
    assert after["root"].id == before["root"].id
    assert after["install"].id != before["install"].id


def test_variables_count_unless_they_say_nothing_about_the_image(elements: Path) -> None:
    before = steps(elements)
    assert steps(elements, DIB_GREETING="hello")["root"].id != before["root"].id
    for name in ("TMPDIR", "http_proxy", "SSH_AUTH_SOCK", "DIB_QUIET", "TERM"):
        assert steps(elements, **{name: "/tmp"})["finalise"].id == before["finalise"].id, name


def test_a_secret_counts_but_cannot_be_read_back(elements: Path) -> None:
    given = steps(elements, APP_TOKEN="swordfish")  # ruff: ignore[hardcoded-password-func-arg] - not one
    assert given["root"].id != steps(elements)["root"].id
    assert "swordfish" not in str(given)


def test_ids_do_not_depend_on_the_hash_seed(elements: Path) -> None:
    program = (
        "import sys; from imagebuilder.options import parse\n"
        "from imagebuilder.plan import digest, make\n"
        "draft = make.draft(parse(['-n', 'os', 'app'], {'ELEMENTS_PATH': sys.argv[1]}))\n"
        "print([step.id for step in digest.chain(make.finish(draft, draft.variables), {})])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(elements)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1


def test_the_map_of_every_element_counts(elements: Path) -> None:
    ids = []
    for of_os, of_app in (("b", "d"), ("x", "d"), ("b", "x")):
        (elements / "os/pkg-map").write_text(f'{{"default": {{"a": "{of_os}"}}}}')
        (elements / "app/pkg-map").write_text(f'{{"default": {{"c": "{of_app}"}}}}')
        ids.append(steps(elements, DISTRO_NAME="debian")["install"].id)
    assert len(set(ids)) == 3

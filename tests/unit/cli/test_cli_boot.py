"""`imagebuilder boot`: its options, its exit status, what it says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from imagebuilder.cli import boot
from imagebuilder.errors import ConfigError
from imagebuilder.machine.errand import Errand
from imagebuilder.machine.model import End, Outcome
from imagebuilder.process import Recorder

FOUND = Outcome(end=End.FOUND, matched=("login:",), seconds=31.4)


def start(*words: str) -> int:
    parser = argparse.ArgumentParser()
    boot.add_arguments(parser)
    common = ["/disk.raw", "--arch", "x86_64", "--accelerator", "tcg"]
    return boot.start(parser.parse_args([*common, *words]), Recorder())


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (FOUND, 0),
        (Outcome(end=End.FOUND, status=0), 0),
        (Outcome(end=End.FOUND, status=3), 1),
        (Outcome(end=End.FAILED), 1),
        (Outcome(end=End.STOPPED), 1),
        (Outcome(end=End.TIMEOUT), 124),
        (Outcome(end=End.TIMEOUT, status=0), 124),
    ],
)
def test_the_exit_status_tells_what_became_of_it(outcome: Outcome, status: int) -> None:
    assert boot.status(outcome) == status


def test_success_is_told_with_what_was_seen() -> None:
    assert boot.remark(FOUND, None).strip() == "came up after 31 s: saw 'login:'"


def test_failure_is_told_with_its_reason_and_what_was_seen_before() -> None:
    outcome = Outcome(end=End.FAILED, reason="the kernel panicked", matched=("GRUB",))
    assert boot.remark(outcome, None).strip() == (
        "did not come up: the kernel panicked (saw 'GRUB')"
    )


def test_a_commands_status_is_told() -> None:
    outcome = Outcome(end=End.FOUND, status=3, console="run-1 begins\n")
    assert "command exited with 3\n" in boot.remark(outcome, Errand("false", "run-1"))


def test_a_command_that_was_never_started_is_explained() -> None:
    outcome = Outcome(end=End.TIMEOUT, console="login:")
    assert "has the image cloud-init" in boot.remark(outcome, Errand("true", "run-1"))


def test_a_disk_that_is_kept_after_a_power_cut_is_told() -> None:
    outcome = Outcome(end=End.FOUND, clean=False)
    assert "did not shut down" in boot.remark(outcome, None)


def test_the_outcome_can_be_read_by_programs() -> None:
    told = json.loads(boot.document(FOUND))
    assert (told["found"], told["end"], told["matched"]) == (True, "found", ["login:"])
    assert {"seconds", "console", "status", "output", "reason", "clean"} <= set(told)


def test_a_bad_expression_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--expect: not a regular expression: '\(login'"):
        start("--expect", "(login")


def test_a_bad_size_is_refused_with_its_option() -> None:
    with pytest.raises(ConfigError, match="--memory: not a size: 'lots'"):
        start("--memory", "lots")


@pytest.mark.parametrize("words", [("--run", "true"), ("--expect", "x")])
def test_nothing_is_expected_of_a_machine_that_a_person_uses(words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="--interactive: nothing is expected"):
        start("--interactive", *words)


def test_an_overlay_and_writing_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        start("--write", "--overlay", "kept.qcow2")
    assert "not allowed with" in capsys.readouterr().err


def test_an_architecture_that_is_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'vax' cannot be started"):
        start("--arch", "vax", "--json", str(tmp_path / "never"))
    assert not (tmp_path / "never").exists()

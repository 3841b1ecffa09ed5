"""What all verbs have in common: wrong use and a full disk are one line each."""

from __future__ import annotations

import errno
import os

import pytest

from imagebuilder.cli import verbs
from imagebuilder.cli.guard import guarded


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["deb", "patch", "x", "-o", "y", "--bad", "z"],
            "deb patch: unrecognized arguments: --bad z",
        ),
        (["iso", "--bad", "ls", "x"], "iso: unrecognized arguments: --bad"),
        (["squashfs"], "squashfs: the following arguments are required: ACTION"),
    ],
)
def test_wrong_use_is_told_with_the_verb_that_does_not_know_it(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(words) == 2
    where = said.partition(":")[0]
    hint = f"  hint: 'imagebuilder {where} --help' lists what there is\n"
    assert capsys.readouterr().err == f"error: {said}\n{hint}"


def test_names_keep_their_capitals_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        verbs.main(["iso", "test", "--help"])
    assert "as a CD and a disk, by BIOS, UEFI and Secure Boot." in capsys.readouterr().out


def test_a_full_disk_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_up() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/x")

    assert guarded(fill_up) == 5
    assert "error: /scratch/x: no space left on device" in capsys.readouterr().err


def test_another_error_of_the_system_stays_one() -> None:
    def fail() -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        guarded(fail)

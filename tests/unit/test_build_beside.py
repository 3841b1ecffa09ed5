"""Work in a process of its own: its result comes back, and its end is waited for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from imagebuilder.build.beside import Beside


def test_the_result_comes_from_another_process() -> None:
    assert Beside(os.getpid).result() != os.getpid()


def test_work_that_was_killed_is_done_here() -> None:
    def work() -> int:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    parent = os.getpid()
    assert Beside(work).result() == parent


def test_an_error_is_raised_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        Beside((tmp_path / "absent").stat).result()
    assert capfd.readouterr().err == ""


def test_nothing_is_left_to_wait_for() -> None:
    work = Beside(os.getpid)
    work.result()
    with pytest.raises(ChildProcessError):
        os.waitpid(work.child, os.WNOHANG)


def test_what_nobody_waits_for_is_ended() -> None:
    with Beside(signal.pause) as work:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(work.child, 0)


def test_leaving_after_the_result_ends_nothing() -> None:
    with Beside(os.getpid) as work:
        assert work.result() == work.child

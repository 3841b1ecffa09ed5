"""Programs that are read from and written to: how they end is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagebuilder import process
from imagebuilder.errors import CommandError, ToolMissingError
from imagebuilder.process import Command

FAILS = "import sys; sys.stdout.write('half'); sys.stderr.write('no luck'); sys.exit(3)"


def python(code: str) -> Command:
    return Command((sys.executable, "-c", code))


def test_what_a_program_writes_is_read_without_its_messages() -> None:
    with process.reading(python("import sys; print('out'); print('err', file=sys.stderr)")) as file:
        assert file.read() == b"out\n"


def test_a_program_that_fails_after_writing_is_told_of() -> None:
    with (
        pytest.raises(CommandError, match=r"exit status 3\nno luck"),
        process.reading(python(FAILS)) as file,
    ):
        assert file.read() == b"half"


def test_a_program_gets_what_is_written() -> None:
    code = "import sys; sys.exit(sys.stdin.read() != 'hello')"
    with process.writing(python(code)) as file:
        file.write(b"hello")


def test_a_program_that_stops_reading_is_told_of() -> None:
    with (
        pytest.raises(CommandError, match=r"exit status 3\n.*no luck"),
        process.writing(python(FAILS)) as file,
    ):
        file.write(bytes(2**24))


def test_an_error_of_ours_ends_the_program() -> None:
    with (
        pytest.raises(ValueError, match="ours"),
        process.reading(python("import time; time.sleep(600)")),
    ):
        raise ValueError("ours")


def test_a_program_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ToolMissingError, match="no-such-program is not installed"),
        process.reading(Command(("no-such-program",))),
    ):
        pass


@pytest.mark.parametrize(
    ("mode", "what"), [(0o644, "Permission denied"), (0o755, "Exec format error")]
)
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, mode: int, what: str) -> None:
    program = tmp_path / "program"
    program.touch(mode)
    command = Command((str(program),))
    for start in (process.reading, process.writing, process.started):
        with (
            pytest.raises(ToolMissingError, match=f"program cannot be started: {what}"),
            start(command),
        ):
            pass
    with pytest.raises(ToolMissingError, match=f"program cannot be started: {what}"):
        process.run(command)

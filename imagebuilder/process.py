"""Commands as values, and the one place that runs them.

A program started here dies with the builder: the kernel kills it when its parent goes,
however that happens (`prctl(2)`, PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from imagebuilder.errors import CommandError, ToolMissingError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
PR_SET_PDEATHSIG = 1
PIPE = 2**20  # what any user's pipe may hold, pipe(7), pipe-max-size


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; its `env` is added to `base`, never to our environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    cwd: Path | None = None
    umask: int = 0o022  # of a command in a sandbox
    base: Mapping[str, str] = field(default_factory=lambda: BASE_ENVIRONMENT)

    def __str__(self) -> str:
        return shlex.join(self.argv)

    def environment(self) -> dict[str, str]:
        """The whole environment that the program gets."""
        return dict(self.base) | dict(self.env)


@dataclass(frozen=True, slots=True)
class Result:
    command: Command
    status: int
    output: str


Runner = Callable[[Command], Result]
Program = subprocess.Popen[bytes]


def run(command: Command) -> Result:
    """Run to the end; raise `CommandError`, with the output, unless it succeeds."""
    try:
        done = subprocess.run(
            command.argv,
            env=command.environment(),
            input=command.stdin,
            cwd=command.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with(os.getpid()),
            check=False,
        )
    except OSError as error:
        raise _not_started(command, error) from error
    return checked(Result(command, done.returncode, done.stdout.decode(errors="replace")))


@contextmanager
def started(
    command: Command, *, interactive: bool = False
) -> Generator[subprocess.Popen[bytes], None, None]:
    """The running program with its output (and error output) as a pipe, and killed on leaving.

    With `interactive` its standard input is a pipe too, else it is `/dev/null`.
    """
    try:
        program = subprocess.Popen(
            command.argv,
            env=command.environment(),
            cwd=command.cwd,
            stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with(os.getpid()),
        )
    except OSError as error:
        raise _not_started(command, error) from error
    with program:
        try:
            yield program
        finally:
            program.kill()


@contextmanager
def reading(command: Command) -> Generator[IO[bytes], None, None]:
    """What the program writes, as a file; raise `CommandError`, with its messages, if it fails."""
    with tempfile.TemporaryFile() as said:
        with _popen(command, subprocess.DEVNULL, subprocess.PIPE, said) as program:
            assert program.stdout
            widen(program.stdout.fileno())
            try:
                yield program.stdout
            except BaseException:
                program.kill()
                raise
        checked(_told(command, program, said))


@contextmanager
def writing(command: Command) -> Generator[IO[bytes], None, None]:
    """What the program reads, as a file; raise `CommandError`, with its messages, if it fails."""
    with tempfile.TemporaryFile() as said:
        with _popen(command, subprocess.PIPE, said, said) as program:
            assert program.stdin
            widen(program.stdin.fileno())
            try:
                yield program.stdin
                program.stdin.close()
            except BrokenPipeError as error:
                program.wait()
                raise _broken(_told(command, program, said)) from error
            except BaseException:
                program.kill()
                raise
        checked(_told(command, program, said))


def widen(pipe: int) -> None:
    """Let a pipe hold more, so that the programs at its ends wait less for each other."""
    with suppress(PermissionError):  # all pipes of an ordinary user may take only so much
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)


def _popen(command: Command, source: int, sink: int | IO[bytes], messages: IO[bytes]) -> Program:
    try:
        return subprocess.Popen(
            command.argv,
            env=command.environment(),
            cwd=command.cwd,
            stdin=source,
            stdout=sink,
            stderr=messages,
            preexec_fn=_die_with(os.getpid()),
        )
    except OSError as error:
        raise _not_started(command, error) from error


def _told(command: Command, program: Program, said: IO[bytes]) -> Result:
    said.seek(0)
    return Result(command, program.wait(), said.read().decode(errors="replace"))


def _broken(result: Result) -> CommandError:
    return CommandError(
        f"stopped reading, exit status {result.status}\n{result.output.rstrip()}",
        where=str(result.command),
    )


def attached(command: Command) -> int:
    """Run with our own terminal as its input and output; return the exit status."""
    try:
        done = subprocess.run(
            command.argv,
            env={"TERM": os.environ.get("TERM", "dumb")} | command.environment(),
            cwd=command.cwd,
            preexec_fn=_die_with(os.getpid()),
            check=False,
        )
    except OSError as error:
        raise _not_started(command, error) from error
    return done.returncode


def checked(result: Result) -> Result:
    """The same result; raise `CommandError` if it is not a success."""
    if result.status:
        raise CommandError(
            f"exit status {result.status}\n{result.output.rstrip()}", where=str(result.command)
        )
    return result


def missing(program: str) -> ToolMissingError:
    """The error for a program that is not there."""
    return ToolMissingError(
        f"{program} is not installed",
        hint="'imagebuilder doctor --install' brings what is missing",
    )


def _not_started(command: Command, error: OSError) -> ToolMissingError:
    if isinstance(error, FileNotFoundError):
        return missing(command.argv[0])
    hint = "look at its mode, and whether it was made for this machine"
    return ToolMissingError(
        f"{command.argv[0]} cannot be started: {error.strerror}",
        where=find(command.argv[0]) or "",
        hint=hint,
    )


def find(program: str) -> str | None:
    """Where `program` is on our own PATH or in the directories of system programs."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}")


class Recorder:
    """A `Runner` for tests: runs nothing, remembers everything."""

    def __init__(self, **outputs: str) -> None:
        self.outputs = outputs
        self.commands: list[Command] = []

    def __call__(self, command: Command) -> Result:
        self.commands.append(command)
        return Result(command, 0, self.outputs.get(command.argv[0], ""))


def _die_with(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def set_up() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(125)

    return set_up

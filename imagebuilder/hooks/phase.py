"""Runs the hooks of one phase, on the host or in the root tree, and reports every one."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.element import environment, merge
from imagebuilder.element.model import HooksTree, Phase, Where
from imagebuilder.errors import HookError
from imagebuilder.events import Finished, Line, Listener, Started, Step, Ticked
from imagebuilder.hooks.merged import LIBRARY
from imagebuilder.hooks.place import DOWNLOADS, Place
from imagebuilder.process import PATH, Command
from imagebuilder.sandbox.model import Bind, Sandbox
from imagebuilder.sandbox.session import Session, enter

IN_TARGET = "tmp/in_target.d"  # elements rely on this path
FINGERPRINTS = "fingerprint.d"
PATIENCE = 60.0  # seconds for a fingerprint
LAST_LINES = 12
LONGEST_LINE = 1 << 16
NOT_IN_TARGET = ("TMPDIR", "VIRTUAL_ENV")
SEES_TARGET_ROOT = ("root", "cleanup", "media", "initrd")
SEES_THE_MEDIUM = ("media", "initrd")
SEES_KERNEL_FILESYSTEMS = ("extra-data", "post-root", "pre-finalise", "cleanup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A phase to run: its hooks, what they get, and who listens."""

    phase: Phase
    place: Place
    tree: HooksTree
    variables: Mapping[str, str]
    listen: Listener
    secrets: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()  # of `-p`, installed after the hooks
    deadline: float = 0.0  # seconds a hook may take; 0: any
    devices: tuple[str, ...] = ()  # names in /dev that hooks inside see too

    @property
    def inside(self) -> bool:
        return self.phase.where is Where.TARGET

    @property
    def network(self) -> bool:
        return not self.variables.get("DIB_OFFLINE")

    @property
    def hooks(self) -> Path:
        """The merged hooks tree as the phase sees it."""
        return Path("/", IN_TARGET) if self.inside else self.place.hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What `fingerprint.d` has found: the SHA-256 of what each program printed."""

    digests: Mapping[str, str]
    failures: tuple[str, ...] = ()


def read_environment(
    place: Place, tree: HooksTree, variables: Mapping[str, str], listen: Listener
) -> dict[str, str]:
    """What `environment.d` makes of `variables`, on the host and without network."""
    phase = Phase("environment", Where.HOST)
    work = Work(phase=phase, place=place, tree=tree, variables=variables, listen=listen)
    with enter(Sandbox(network=False)) as session:
        return _settle(session, work)


def fingerprints(work: Work) -> Outside:
    """Run the programs in `fingerprint.d`, which say what elements take from outside."""
    directory = work.place.hooks / FINGERPRINTS
    programs = sorted(directory.iterdir()) if directory.is_dir() else []
    digests: dict[str, str] = {}
    failures: list[str] = []
    if not programs:
        return Outside(digests=digests)
    with enter(Sandbox(deadline=PATIENCE, network=work.network)) as session:
        settled = _settle(session, work)
        for program in programs:
            step = Step("fingerprint", program.name)
            command = Command(("bash", "-c", 'exec "$0" >&3', str(program)), env=settled)
            printer = Printer(work, step)
            outcome = session.execute(command, printer, capture=True)
            printer.flush()
            if outcome.exited.status:
                failures.append(f"{step} failed{printer.tail()}")
            else:
                digests[program.name] = hashlib.sha256(outcome.captured).hexdigest()
    return Outside(digests=digests, failures=tuple(failures))


def run_phase(work: Work) -> None:
    """Run a phase's hooks in order; raise HookError at the first that fails."""
    hooks = merge.present(work.place.hooks, work.phase, work.tree)
    if not hooks and not work.packages:
        return
    with _reported(work, Step(work.phase.name)), _entered(work) as session:
        settled = _settle(session, work)
        for hook in hooks:
            step = Step(work.phase.name, hook.name, hook.element)
            program = work.hooks / work.phase.directory / hook.name
            _run(session, work, step, Command((str(program),), env=settled), hook.source)
        if work.packages:
            step = Step(work.phase.name, "install-packages", "-p")
            _run(session, work, step, Command(("install-packages", *work.packages), env=settled))


@contextmanager
def _entered(work: Work) -> Generator[Session, None, None]:
    if not work.inside:
        with enter(_on_the_host(work)) as session:
            yield session
        return
    point = work.place.tree / IN_TARGET
    point.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(
        root=work.place.tree,
        binds=tuple(_binds(work.place)),
        devices=work.devices,
        deadline=work.deadline,
        network=work.network,
    )
    with enter(sandbox) as session:
        yield session
    point.rmdir()


def _on_the_host(work: Work) -> Sandbox:
    """Hooks that see a whole tree may `chroot` into it, and so it has kernel filesystems."""
    tree = work.place.tree if work.phase.name in SEES_KERNEL_FILESYSTEMS else None
    return Sandbox(furnish=tree, deadline=work.deadline, network=work.network)


def _binds(place: Place) -> Iterator[Bind]:
    """The hooks, and the download cache; what is new in there is kept apart from the host's."""
    yield Bind(source=place.hooks, target=IN_TARGET)
    if place.fetched.is_dir():
        inside = f"{IN_TARGET}/{DOWNLOADS}"
        yield Bind(source=place.downloads / "store", target=f"{inside}/store")
        yield Bind(source=place.fetched, target=f"{inside}/new", writable=True)


@contextmanager
def _reported(work: Work, step: Step) -> Generator[None, None, None]:
    begun = time.monotonic()
    work.listen(Started(step))
    status = 1
    try:
        yield
        status = 0
    except HookError as error:
        status = error.exit_status
        raise
    finally:
        work.listen(Finished(step, status, time.monotonic() - begun))


def _settle(session: Session, work: Work) -> dict[str, str]:
    """The environment that the phase's hooks get: `environment.d` is sourced once per phase."""
    names = merge.environment_files(work.place.hooks)
    program = environment.prologue(f"{work.hooks}/{merge.ENVIRONMENT}", names)
    printer = Printer(work, Step(work.phase.name, "environment.d"))
    command = Command(("bash", "-c", program), env=_variables(work))
    outcome = session.execute(command, printer, capture=True)
    printer.flush()
    if outcome.exited.status:
        raise HookError(
            f"environment.d failed with status {outcome.exited.status}{printer.tail()}",
            status=outcome.exited.status,
            where=f"phase {work.phase.name}",
        )
    return environment.parse(outcome.captured)


def _variables(work: Work) -> dict[str, str]:
    library = work.hooks / LIBRARY
    given = {
        "DIB_PYTHON_EXEC": sys.executable,
        **work.variables,
        **work.place.variables(),
        "_LIB": str(library),
    }
    if work.phase.name in SEES_TARGET_ROOT:
        given["TARGET_ROOT"] = str(work.place.tree)
    if work.phase.name in SEES_THE_MEDIUM:
        given["TARGET_MEDIA"] = str(work.place.medium / "tree")
        given["TARGET_INITRD"] = str(work.place.medium / "initrd")
    if work.inside:
        given = {key: value for key, value in given.items() if key not in NOT_IN_TARGET}
        return {**given, "HOME": "/root", "PATH": f"{PATH}:{library / 'bin'}"}
    known = [part for part in given.get("PATH", "").split(":") if part]
    missing = [part for part in PATH.split(":") if part not in known]
    return {**given, "PATH": ":".join([str(library / "bin"), *known, *missing])}


def _run(
    session: Session, work: Work, step: Step, command: Command, source: Path | None = None
) -> None:
    printer = Printer(work, step)
    work.listen(Started(step))
    exited = session.execute(command, printer, tick=lambda: work.listen(Ticked())).exited
    printer.flush()
    work.listen(Finished(step, exited.status, exited.seconds, cpu=exited.cpu))
    if exited.status:
        what = f"ran longer than {work.deadline:g} s" if exited.timed_out else "failed"
        raise HookError(
            f"{step} {what} with status {exited.status}{printer.tail()}",
            status=exited.status,
            where=f"element {step.element}: {source or command.argv[0]}",
        )


class Printer:
    """Turns a hook's output into Line events, with secrets blacked out."""

    def __init__(self, work: Work, step: Step) -> None:
        self.work, self.step = work, step
        self.rest = b""
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def __call__(self, chunk: bytes) -> None:
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self.rest) > LONGEST_LINE:
            self.flush()

    def flush(self) -> None:
        """Say what is left without a newline."""
        if self.rest:
            self._say(self.rest)
        self.rest = b""

    def tail(self) -> str:
        """The last lines, ready to follow a message."""
        return "".join(f"\n    {line}" for line in self.last)

    def _say(self, raw: bytes) -> None:
        text = raw.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace")
        text = environment.redact(text, self.work.secrets)
        self.last.append(text)
        self.work.listen(Line(self.step, text))

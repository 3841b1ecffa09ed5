"""Runs the hooks of one phase, on the host or in the root tree, and reports every one."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder.element import environment, merge
from imagebuilder.element.environment import Settled
from imagebuilder.element.model import HooksTree, Phase, Where
from imagebuilder.errors import HookError, Interrupted
from imagebuilder.events import Event, Finished, Line, Listener, Said, Started, Step, Ticked
from imagebuilder.hooks import first_line, grub
from imagebuilder.hooks.merged import LIBRARY, RUN_PARTS
from imagebuilder.hooks.place import DOWNLOADS, Place
from imagebuilder.plan import breaks
from imagebuilder.process import PATH, Command
from imagebuilder.sandbox import lent
from imagebuilder.sandbox.model import Bind, Sandbox
from imagebuilder.sandbox.session import Session, enter

IN_TARGET = "tmp/in_target.d"  # elements rely on this path
FINGERPRINTS = "fingerprint.d"
PATIENCE = 60.0  # seconds for a fingerprint
LAST_LINES = 12
OWN_DEVICE = "IMAGE_BLOCK_DEVICE="  # before diskimage-builder had layouts, hooks printed it
LONGEST_LINE = 1 << 16
NOT_IN_TARGET = ("TMPDIR", "VIRTUAL_ENV")
# Where our modules are, and with them those of diskimage-builder that Python hooks import; unless
# we are installed, only we know that place.
HOME = Path(__file__).parents[2]
MODULES = (str(HOME), str(HOME / "imagebuilder/lib/python"))
PACKAGES = ("site-packages", "dist-packages")
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
    links: tuple[tuple[str, str], ...] = ()  # symlinks in their /dev
    covered: tuple[str, ...] = ()  # programs of GRUB's that something stands in for

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
    """What `environment.d` makes of `variables`, on the host.

    It has no network, so that a plan says the same tomorrow; only if it fails so, it has one.
    """
    phase = Phase("environment", Where.HOST)
    heard: list[Event] = []
    work = Work(phase=phase, place=place, tree=tree, variables=variables, listen=heard.append)
    try:
        with enter(Sandbox(network=False)) as session:
            settled = _settle(session, work)
    except HookError:
        with enter(Sandbox(network=work.network)) as session:
            return _settle(session, replace(work, listen=listen)).variables
    for event in heard:
        listen(event)
    return settled.variables


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
            command = _command(settled, "bash", "-c", 'exec "$0" >&3', str(program))
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
    if not (hooks or work.packages or breaks.wanted(work.phase, work.variables)):
        return
    filesystems = work.variables.get("IMAGEBUILDER_FILESYSTEMS", "")
    with (
        _reported(work, Step(work.phase.name)),
        grub.covered(work.place.tree, work.covered, filesystems),
        _entered(work) as session,
    ):
        settled = _settle(session, work)
        with _stopping(session, work, settled):
            for hook in hooks:
                step = Step(work.phase.name, hook.name, hook.element)
                program = work.hooks / work.phase.directory / hook.name
                _run(session, work, step, _command(settled, str(program)), hook.source)
        if work.packages:
            step = Step(work.phase.name, "install-packages", "-p")
            _run(session, work, step, _command(settled, "install-packages", *work.packages))


@contextmanager
def _stopping(session: Session, work: Work, settled: Settled) -> Generator[None, None, None]:
    """Stop at the break points of a phase that are asked for."""
    there = not work.inside or (work.place.hooks / work.phase.directory).is_dir()
    if there:
        _stop(session, work, settled, breaks.before(work.phase, work.variables))
    try:
        yield
    except HookError:
        _stop_after_error(session, work, settled)
        raise
    if there:
        _stop(session, work, settled, breaks.after(work.phase, work.variables))


def _stop_after_error(session: Session, work: Work, settled: Settled) -> None:
    stop = breaks.after_error(work.phase, work.variables)
    with suppress(HookError):  # the hook's is the one that counts
        if stop and stop.outside:
            own = {"_LIB": str(work.place.hooks / LIBRARY), **work.place.variables()}
            with enter(Sandbox(furnish=work.place.tree, network=work.network)) as outside:
                _stop(outside, work, Settled(variables={**work.variables, **own}), stop)
        else:
            _stop(session, work, settled, stop)


def _stop(session: Session, work: Work, settled: Settled, stop: breaks.Stop | None) -> None:
    """Run what is to be run at a break point; raise HookError if that fails."""
    if stop is None:
        return
    work.listen(Said(f"Starting debug shell. Exit to resume building.\nAt stage {stop.point}"))
    printer = Printer(work, Step(work.phase.name))
    command = _command(settled, "bash", "-c", stop.command)
    with lent.standard_input() as given:
        status = session.execute(command, printer, lent=given).exited.status
    printer.flush()
    if status:
        what = f"what ran at the break point {stop.point} ended with status {status}"
        raise HookError(what, status=status, where=f"phase {work.phase.name}")


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
        links=work.links,
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
    except (HookError, Interrupted) as error:
        status = error.exit_status
        raise
    finally:
        work.listen(Finished(step, status, time.monotonic() - begun))


def _settle(session: Session, work: Work) -> Settled:
    """What the phase's hooks start with: `environment.d` is sourced once per phase."""
    names = merge.environment_files(work.place.hooks)
    program = environment.prologue(f"{work.hooks}/{merge.ENVIRONMENT}", names)
    printer = Printer(work, Step(work.phase.name, "environment.d"))
    called = (str(work.hooks / RUN_PARTS), str(work.hooks / work.phase.directory))
    words = ("bash", "-c", environment.LAUNCH, *called, *environment.pieces(program))
    command = Command(words, env=_variables(work))
    outcome = session.execute(command, printer, capture=True)
    printer.flush()
    if outcome.exited.status:
        raise HookError(
            f"environment.d failed with status {outcome.exited.status}{printer.tail()}",
            status=outcome.exited.status,
            where=f"phase {work.phase.name}",
        )
    settled = environment.parse(outcome.captured)
    _trace(work, printer, names, settled.variables)
    return settled


def _command(settled: Settled, *argv: str) -> Command:
    directory = Path(settled.directory) if settled.directory else None
    return Command(argv, env=settled.variables, cwd=directory, umask=settled.umask)


def _trace(
    work: Work, printer: Printer, names: tuple[str, ...], settled: Mapping[str, str]
) -> None:
    """What `-x` wants to know of `environment.d`: its files, and twice what they have set."""
    level = int(work.variables.get("DIB_DEBUG_TRACE") or 0)
    lines = [f"sourced environment.d/{name}" for name in names] if level else []
    if level > 1:
        lines += [
            f"{name}={value}"
            for name, value in settled.items()
            if work.variables.get(name) != value and "BASH_FUNC" not in name
        ]
    if lines:
        printer("\n".join((*lines, "")).encode(errors="surrogateescape"))


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
    if HOME.name not in PACKAGES:
        given["PYTHONPATH"] = ":".join(filter(None, (given.get("PYTHONPATH"), *MODULES)))
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
        root = work.place.tree if work.inside else Path("/")
        what = f"ran longer than {work.deadline:g} s" if exited.timed_out else "failed"
        raise HookError(
            f"{step} {what} with status {exited.status}{printer.tail()}",
            status=exited.status,
            where=f"element {step.element}: {source or command.argv[0]}",
            hint=first_line.hint(source, exited.status, root) if source else "",
        )
    if printer.device:
        raise HookError(
            f"{step} has made a disk of its own, which cannot be the image's: {printer.device}",
            status=1,
            where=f"element {step.element}: {source or command.argv[0]}",
            hint="describe the disk in a block-device-default.yaml, or in DIB_BLOCK_DEVICE_CONFIG",
        )


class Printer:
    """Turns a hook's output into Line events, with secrets blacked out."""

    def __init__(self, work: Work, step: Step) -> None:
        self.work, self.step = work, step
        self.rest = b""
        self.device = ""  # what a hook of block-device.d says to have made
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
        if self.work.phase.name == "block-device" and OWN_DEVICE in text:
            self.device = text
        self.work.listen(Line(self.step, text))

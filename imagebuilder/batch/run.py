"""Builds the images of a batch, several at once: each is a program of its own.

A program that is killed, or runs out of memory, takes no other with it; and all of them die with
this one. When this one is ended by a signal, they are told to end, and waited for.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from imagebuilder import process
from imagebuilder.batch import room, schedule
from imagebuilder.batch.prepare import Batch, Task, blamed
from imagebuilder.batch.schedule import Grant
from imagebuilder.cache.model import UnusableError
from imagebuilder.cache.store import Store
from imagebuilder.errors import BuildError
from imagebuilder.options import MEMORY
from imagebuilder.process import Command

PULSE = 0.25  # seconds between two looks at what might be begun
PATIENCE = 10.0  # seconds that builds have to clean up after a signal; it takes less than 2
CHUNK = 1 << 16
RAMDISK = "from imagebuilder.cli.start import ramdisk_image_create; ramdisk_image_create()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an image; `status` None: it was not begun."""

    task: Task
    status: int | None
    seconds: float = 0.0
    error: BuildError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Who is told: when an image is begun, each line it prints, and when it has ended."""

    begun: Callable[[Task], None]
    line: Callable[[Task, str], None]
    ended: Callable[[Outcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How many images are built at once, and whether one that fails is the last to be begun."""

    jobs: int
    stop_on_failure: bool = False


@dataclass(slots=True)
class _Running:
    """A build that goes on; leaving `held` kills it."""

    task: Task
    grant: Grant
    program: process.Program
    held: ExitStack
    begun: float = field(default_factory=time.monotonic)
    rest: bytes = b""
    silent: bool = False  # it has closed its output

    @property
    def output(self) -> int:
        assert self.program.stdout is not None
        return self.program.stdout.fileno()


@dataclass(slots=True)
class _Crew:
    """All of a batch: what waits, what goes on, and what has ended."""

    batch: Batch
    how: How
    shown: Shown
    waiting: list[Task]
    running: list[_Running] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)
    looked: float = 0.0  # when it was last tried to begin some

    @property
    def stopped(self) -> bool:
        return self.how.stop_on_failure and any(each.status for each in self.ended)

    @property
    def full(self) -> bool:
        return self.stopped or not self.waiting or len(self.running) >= self.how.jobs


def run(batch: Batch, how: How, shown: Shown) -> tuple[Outcome, ...]:
    """Build the images; what became of each, in the order of the file."""
    crew = _Crew(batch, how, shown, list(batch.tasks))
    try:
        while crew.running or (crew.waiting and not crew.stopped):
            if not crew.full and time.monotonic() >= crew.looked + PULSE:
                _begin(crew)
                crew.looked = time.monotonic()
            _listen(crew.running, shown, PULSE)
            _collect(crew)
    finally:
        _end(crew)
    order = {id(task): position for position, task in enumerate(batch.tasks)}
    rest = [Outcome(task=task, status=None) for task in crew.waiting]
    return tuple(sorted((*crew.ended, *rest), key=lambda outcome: order[id(outcome.task)]))


def command(task: Task, grant: Grant) -> Command:
    """The program that builds one image, with no more memory than it was granted."""
    limit = {MEMORY: str(grant.memory)} if grant.memory else {"DIB_NO_TMPFS": "1"}
    program = ("-c", RAMDISK) if task.image.ramdisk else ("-m", "imagebuilder", "build")
    return Command(
        (sys.executable, *program, *task.image.words),
        env={**task.environment, **limit},
        base={},
    )


def _begin(crew: _Crew) -> None:
    """Begin what there is room for; what there will never be room for has failed."""
    while not crew.full:
        left = room.left((t.job for t in crew.batch.tasks), _grants(crew.running))
        slots = crew.how.jobs - len(crew.running)
        jobs = [task.job for task in crew.waiting]
        position = schedule.choose(jobs, _being_made(crew), left, slots)
        if position >= 0:
            granted = schedule.grant(jobs[position], left, min(slots, len(jobs)))
            assert granted
            _start(crew, crew.waiting.pop(position), granted)
        elif crew.running:
            return
        else:
            _refuse(crew, crew.waiting.pop(0))


def _grants(running: Iterable[_Running]) -> dict[int, Grant]:
    return {each.program.pid: each.grant for each in running}


def _being_made(crew: _Crew) -> frozenset[str]:
    """The groups whose root tree is not there yet, but will be."""
    groups = {each.task.job.group for each in crew.running} & crew.batch.roots.keys()
    return frozenset(group for group in groups if not _is_there(crew.batch.roots, group))


def _is_there(roots: Mapping[str, tuple[Store, str]], group: str) -> bool:
    store, key = roots[group]
    try:
        store.read(key)
    except UnusableError:
        return False
    return True


def _start(crew: _Crew, task: Task, granted: Grant) -> None:
    crew.shown.begun(task)
    with ExitStack() as held:
        program = held.enter_context(process.started(command(task, granted)))
        running = _Running(task, granted, program, held.pop_all())
    os.set_blocking(running.output, False)
    crew.running.append(running)


def _refuse(crew: _Crew, task: Task) -> None:
    try:
        with blamed(task.image):
            room.check(task.job)
    except BuildError as error:
        _conclude(crew, Outcome(task=task, status=error.exit_status, error=error))
    else:
        crew.waiting.insert(0, task)  # room was made at this very moment


def _listen(running: Iterable[_Running], shown: Shown, seconds: float) -> None:
    """Pass on what the programs print; wait for that, but no longer than `seconds`."""
    with selectors.DefaultSelector() as selector:
        for each in (each for each in running if not each.silent):
            selector.register(each.output, selectors.EVENT_READ, each)
        for key, _ in selector.select(seconds):
            _read(key.data, shown)


def _read(running: _Running, shown: Shown) -> bool:
    """Pass on what has been printed by now; whether there was anything."""
    chunk = b""
    with suppress(BlockingIOError):
        chunk = os.read(running.output, CHUNK)
        running.silent = not chunk
    *lines, running.rest = (running.rest + chunk).split(b"\n")
    for line in lines:
        shown.line(running.task, line.decode(errors="replace"))
    return bool(chunk)


def _collect(crew: _Crew) -> None:
    """Take note of those that have ended."""
    for each in [each for each in crew.running if each.program.poll() is not None]:
        while _read(each, crew.shown):
            pass
        if each.rest:
            crew.shown.line(each.task, each.rest.decode(errors="replace"))
        crew.running.remove(each)
        each.held.close()
        status = each.program.returncode
        seconds = time.monotonic() - each.begun
        status = 128 - status if status < 0 else status
        _conclude(crew, Outcome(task=each.task, status=status, seconds=seconds))
        crew.looked = 0.0


def _conclude(crew: _Crew, outcome: Outcome) -> None:
    crew.ended.append(outcome)
    crew.shown.ended(outcome)


def _end(crew: _Crew) -> None:
    """Tell what still runs to end, and wait until it has."""
    with ExitStack() as killed:
        for each in crew.running:
            killed.push(each.held)
            each.program.terminate()
        silent = Shown(begun=lambda _: None, line=lambda *_: None, ended=lambda _: None)
        until = time.monotonic() + PATIENCE
        while (alive := _alive(crew.running)) and time.monotonic() < until:
            _listen(alive, silent, PULSE)


def _alive(running: Iterable[_Running]) -> list[_Running]:
    return [each for each in running if each.program.poll() is None]

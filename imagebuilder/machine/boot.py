"""The story of one start: prepare, run qemu, follow the console, end it as it should end."""

from __future__ import annotations

import os
import platform
import selectors
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import CommandError, ConfigError, ToolMissingError
from imagebuilder.machine import qemu, qmp
from imagebuilder.machine.console import Watch
from imagebuilder.machine.model import Accelerator, Architecture, End, Machine, Outcome, Parts
from imagebuilder.machine.prepare import prepare
from imagebuilder.process import Command, Program, Runner

LAST_WORDS = timedelta(seconds=2)  # a panic's trace comes after its first line
SHUTDOWN = timedelta(seconds=60)
KVM = Path("/dev/kvm")
QUIT = b'{"execute": "qmp_capabilities"}{"execute": "quit"}'
Show = Callable[[bytes], None]


def accelerator(guest: Architecture, run: Runner = process.run) -> Accelerator:
    """KVM where qemu starts with it on this host, else emulation."""
    own = guest.name == platform.machine() and os.access(KVM, os.R_OK | os.W_OK)
    return Accelerator.KVM if own and works_with_kvm(guest, run) else Accelerator.TCG


def works_with_kvm(guest: Architecture, run: Runner) -> bool:
    """Whether qemu starts with KVM: a nested one may refuse the processor's features."""
    try:
        run(Command(qemu.probe(guest), stdin=QUIT))
    except (CommandError, ToolMissingError):
        return False
    return True


def patience(machine: Machine) -> timedelta:
    """How long a boot may take if nobody says otherwise: emulation is slow."""
    return timedelta(seconds=120 if machine.accelerator is Accelerator.KVM else 600)


def boot(
    machine: Machine, watch: Watch, timeout: timedelta, show: Show, run: Runner = process.run
) -> Outcome:
    """Start `machine` and follow its console, passing it on to `show`, until `watch` has all.

    Ends early when the console tells that the boot has failed. A machine whose disk is kept is
    shut down in the end; any other is just ended. Raise CommandError if qemu itself fails.
    """
    check(machine)
    with tempfile.TemporaryDirectory(prefix="imagebuilder-boot-") as directory:
        parts = prepare(machine, Path(directory), run)
        command = _command(qemu.on_pipe(qemu.argv(machine, parts)))
        begin = time.monotonic()
        with process.started(command) as program:
            end = _follow(program, watch, timeout, show)
            _check_started(program, command, watch, end)
            _keep_picture(machine, parts)
            clean = not machine.lasting or _shut_down(program, parts, end, show)
            seconds = time.monotonic() - begin
    return Outcome(
        end=end,
        reason=_reason(end, watch, seconds),
        matched=watch.matched,
        seconds=seconds,
        console=watch.console.text,
        status=watch.status,
        output=watch.errand.output(watch.console.text) if watch.errand else "",
        clean=clean,
    )


def interact(machine: Machine, run: Runner = process.run) -> int:
    """Start `machine` with this terminal as its console; return qemu's exit status."""
    check(machine)
    with tempfile.TemporaryDirectory(prefix="imagebuilder-boot-") as directory:
        parts = prepare(machine, Path(directory), run)
        return process.attached(_command(qemu.on_terminal(qemu.argv(machine, parts))))


def check(machine: Machine) -> None:
    """Raise ConfigError if such a machine cannot be, ToolMissingError if there is no qemu."""
    guest = machine.architecture
    if machine.firmware not in guest.firmwares:
        raise ConfigError(
            f"{guest.name} machines do not start by {machine.firmware.value}",
            hint=f"there is: {', '.join(row.value for row in guest.firmwares)}",
        )
    if not machine.snapshot and (machine.overlay or machine.disk_size):
        raise ConfigError("an image cannot be written and be left alone, by an overlay, at once")
    if not process.find(guest.program):
        raise ToolMissingError(
            f"{guest.program} is not installed",
            hint="'imagebuilder doctor --install --for boot' brings it",
        )


def _command(argv: tuple[str, ...]) -> Command:
    return Command(argv, env={"TMPDIR": tempfile.gettempdir()})  # where qemu puts its snapshots


def _follow(program: Program, watch: Watch, timeout: timedelta, show: Show) -> End:
    for piece in _pieces(program, timeout):
        show(piece)
        watch.feed(piece)
        if watch.complete:
            return End.FOUND
        if watch.failure:
            return _last_words(program, watch, show)
        if not piece:
            return End.STOPPED
    return End.TIMEOUT


def _last_words(program: Program, watch: Watch, show: Show) -> End:
    for piece in _pieces(program, LAST_WORDS):
        show(piece)
        watch.feed(piece)
    return End.FOUND if watch.complete else End.FAILED


def _pieces(program: Program, timeout: timedelta) -> Iterator[bytes]:
    """The output as it comes, until the time is up; an empty piece is its end."""
    assert program.stdout
    deadline = time.monotonic() + timeout.total_seconds()
    with selectors.DefaultSelector() as selector:
        selector.register(program.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                piece = os.read(program.stdout.fileno(), 2**16)
                yield piece
                if not piece:
                    return


def _check_started(program: Program, command: Command, watch: Watch, end: End) -> None:
    if end is End.STOPPED and (status := program.wait()):
        said = watch.console.text.strip()
        raise CommandError(f"exit status {status}\n{said}", where=str(command))


def _keep_picture(machine: Machine, parts: Parts) -> None:
    """Keep what is on the screen; a machine that has stopped has none any more."""
    if machine.picture and parts.control:
        with suppress(OSError):
            qmp.picture(parts.control, machine.picture.absolute())


def _shut_down(program: Program, parts: Parts, end: End, show: Show) -> bool:
    if end is not End.FOUND or parts.control is None:
        return end is End.STOPPED
    try:
        qmp.power_down(parts.control)
    except OSError:
        return program.poll() is not None
    for piece in _pieces(program, SHUTDOWN):
        show(piece)
        if not piece:
            return True
    return False


def _reason(end: End, watch: Watch, seconds: float) -> str:
    if end is End.FAILED:
        return watch.failure
    if end is End.TIMEOUT:
        return f"{watch.awaited!r} did not come within {seconds:.0f} s"
    if end is End.STOPPED:
        return f"the machine stopped or restarted before {watch.awaited!r} came"
    return ""

"""The story of one start, with small programs in qemu's place."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagebuilder.errors import CommandError, ConfigError, ToolMissingError
from imagebuilder.machine import boot as story
from imagebuilder.machine import qmp
from imagebuilder.machine.boot import boot
from imagebuilder.machine.console import Watch
from imagebuilder.machine.errand import Errand
from imagebuilder.machine.model import (
    ARCHITECTURES,
    Accelerator,
    End,
    Firmware,
    Machine,
    Outcome,
)
from imagebuilder.process import Recorder
from imagebuilder.sizes import Size

X86 = ARCHITECTURES["x86_64"]
SOON = timedelta(seconds=10)
LOGIN = re.compile(r"login:")
OBEDIENT = """
import socket, sys
path = sys.argv[sys.argv.index("-qmp") + 1].removeprefix("unix:").split(",")[0]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
print("login:", flush=True)
stream = server.accept()[0].makefile("rw")
for answer in ("{}", "{}", "{}"):
    print(answer, file=stream, flush=True)
    if "system_powerdown" in stream.readline():
        print("Power down.", flush=True)
        sys.exit()
"""


def machine(tmp_path: Path, script: str) -> Machine:
    """A machine whose qemu is a shell script."""
    program, image = tmp_path / "qemu", tmp_path / "disk.raw"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    image.write_bytes(b"disk")
    return Machine(image=image, architecture=replace(X86, program=str(program)))


def start(tmp_path: Path, script: str, *expected: str, timeout: timedelta = SOON) -> Outcome:
    watch = Watch(expected=tuple(map(re.compile, expected)))
    return boot(machine(tmp_path, script), watch, timeout, lambda _: None, Recorder())


def test_the_end_comes_with_what_was_expected(tmp_path: Path) -> None:
    outcome = start(tmp_path, "echo starting; echo login:; exec sleep 60", "start", "login:")
    assert (outcome.end, outcome.found) == (End.FOUND, True)
    assert outcome.matched == ("start", "login:")
    assert "login:" in outcome.console
    assert outcome.seconds < 10


def test_the_console_is_passed_on_as_it_is(tmp_path: Path) -> None:
    pieces: list[bytes] = []
    watch = Watch(expected=(LOGIN,))
    started = machine(tmp_path, r"printf '\033[1mlogin:\r\n'; exec sleep 60")
    boot(started, watch, SOON, pieces.append, Recorder())
    assert b"".join(pieces).startswith(b"\x1b[1mlogin:")


def test_time_runs_out(tmp_path: Path) -> None:
    outcome = start(tmp_path, "exec sleep 60", "login:", timeout=timedelta(seconds=0.2))
    assert outcome.end is End.TIMEOUT
    assert outcome.reason == "'login:' did not come within 0 s"


def test_a_panic_ends_it_with_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "LAST_WORDS", timedelta(seconds=0.5))
    script = "echo 'Kernel panic - not syncing: x'; sleep 0.1; echo trace; exec sleep 60"
    outcome = start(tmp_path, script, "login:")
    assert outcome.end is End.FAILED
    assert outcome.reason == "the kernel panicked: Kernel panic - not syncing: x"
    assert "trace" in outcome.console


def test_a_failure_that_is_expected_is_none(tmp_path: Path) -> None:
    assert start(tmp_path, "echo 'grub rescue>'; exec sleep 60", "grub rescue>").found


def test_a_machine_that_stops_too_early_is_told(tmp_path: Path) -> None:
    outcome = start(tmp_path, "echo bye", "login:")
    assert outcome.end is End.STOPPED
    assert "stopped or restarted before 'login:' came" in outcome.reason


def test_qemus_own_failure_is_an_error_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="exit status 1\nno such device") as caught:
        start(tmp_path, "echo no such device >&2; exit 1", "login:")
    assert "-no-reboot" in caught.value.where


def test_an_errands_status_and_output_are_in_the_outcome(tmp_path: Path) -> None:
    said = "echo 'run-1 | hello'; echo 'run-1 exited with 2'; exec sleep 60"
    watch = Watch(errand=Errand("true", "run-1"))
    outcome = boot(machine(tmp_path, said), watch, SOON, lambda _: None, Recorder())
    assert (outcome.found, outcome.status, outcome.output) == (True, 2, "hello\n")


def test_a_machine_that_takes_no_orders_has_not_shut_down(tmp_path: Path) -> None:
    kept = replace(machine(tmp_path, "echo login:; exec sleep 60"), snapshot=False)
    watch = Watch(expected=(LOGIN,))
    outcome = boot(kept, watch, SOON, lambda _: None, Recorder())
    assert (outcome.found, outcome.clean) == (True, False)


def test_a_machine_whose_disk_is_kept_is_shut_down(tmp_path: Path) -> None:
    (tmp_path / "qemu.py").write_text(OBEDIENT)
    script = f'exec {shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / "qemu.py"))} "$@"'
    shown: list[bytes] = []
    kept = replace(machine(tmp_path, script), snapshot=False)
    outcome = boot(kept, Watch(expected=(LOGIN,)), SOON, shown.append, Recorder())
    assert (outcome.found, outcome.clean) == (True, True)
    assert b"Power down." in b"".join(shown)


def test_the_power_button_is_pressed_in_qemus_protocol(tmp_path: Path) -> None:
    control = tmp_path / "control"
    said: list[str] = []

    def qemu(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            for answer in ('{"QMP": {}}', '{"return": {}}', '{"return": {}}'):
                stream.write(f"{answer}\n")
                stream.flush()
                if len(said) < 2:
                    said.append(json.loads(stream.readline())["execute"])

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(control))
        server.listen()
        thread = threading.Thread(target=qemu, args=(server,))
        thread.start()
        qmp.power_down(control)
        thread.join()
    assert said == ["qmp_capabilities", "system_powerdown"]


def test_a_person_gets_the_terminal_and_qemus_exit_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert story.interact(machine(tmp_path, 'echo "$@"; exit 5'), Recorder()) == 5
    assert "-serial mon:stdio" in capfd.readouterr().out


def test_a_machine_without_qemu_is_refused_with_the_remedy(tmp_path: Path) -> None:
    row = replace(X86, program="qemu-system-none")
    with pytest.raises(ToolMissingError, match="qemu-system-none is not installed") as caught:
        story.check(Machine(image=tmp_path, architecture=row))
    assert "--for boot" in caught.value.hint


def test_an_arm_machine_has_no_bios(tmp_path: Path) -> None:
    arm = Machine(image=tmp_path, architecture=ARCHITECTURES["aarch64"], firmware=Firmware.BIOS)
    with pytest.raises(ConfigError, match="aarch64 machines do not start by bios") as caught:
        story.check(arm)
    assert caught.value.hint == "there is: uefi"


def test_an_image_is_either_written_or_left_alone(tmp_path: Path) -> None:
    written = replace(machine(tmp_path, "true"), snapshot=False)
    for wrong in (replace(written, overlay=Path("kept")), replace(written, disk_size=Size(2**30))):
        with pytest.raises(ConfigError, match="cannot be written and be left alone"):
            story.check(wrong)


def test_another_architecture_is_emulated() -> None:
    run = Recorder()
    assert story.accelerator(replace(X86, name="vax"), run) is Accelerator.TCG
    assert run.commands == []


def test_kvm_works_where_qemu_starts_with_it() -> None:
    run = Recorder()
    assert story.works_with_kvm(X86, run)
    assert "kvm" in run.commands[0].argv
    assert b'"quit"' in run.commands[0].stdin


def test_kvm_that_refuses_does_not_work() -> None:
    def refuse(command: object) -> None:
        raise CommandError("failed to set MSR", where=str(command))

    assert not story.works_with_kvm(X86, refuse)  # type: ignore[arg-type]


def test_emulation_is_given_more_time(tmp_path: Path) -> None:
    slow = Machine(image=tmp_path)
    fast = replace(slow, accelerator=Accelerator.KVM)
    assert story.patience(slow) > story.patience(fast) > timedelta(0)

"""The sandbox for real: what a phase sees, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from programs import take_signals

from imagebuilder.errors import CommandError
from imagebuilder.process import Command
from imagebuilder.sandbox.model import Bind, Sandbox
from imagebuilder.sandbox.session import enter

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces without a user one"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root tree made of the host's own programs."""
    tree = tmp_path / "root"
    for name in ("usr", "bin", "lib", "lib64", "sbin"):
        source = Path("/", name)
        if source.is_symlink():
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).symlink_to(source.readlink())
    for name in ("usr", "etc", "tmp", "proc", "sys", "dev", "root", "var"):
        (tree / name).mkdir(exist_ok=True, parents=True)
    return tree


def run(sandbox: Sandbox, script: str) -> str:
    with enter(sandbox) as session:
        return session(Command(("bash", "-c", script))).output


def inside(root: Path, script: str, *binds: Bind) -> str:
    usr = Bind(source=Path("/usr"), target="/usr")
    return run(Sandbox(root=root, binds=(usr, *binds), network=False), script)


def test_a_command_is_root_and_alone(root: Path) -> None:
    assert inside(root, "id -u; echo $$; ls /proc | grep -c '^[0-9]'").split()[0] == "0"
    assert int(inside(root, "ls /proc | grep -c '^[0-9]'")) < 8


def test_devices_are_few_and_sys_is_read_only(root: Path) -> None:
    listing = inside(root, "ls /dev").split()
    assert {"null", "zero", "random", "urandom", "tty", "ptmx", "fd"} <= set(listing)
    assert "sda" not in listing
    assert "vda" not in listing
    assert "Read-only" in inside(root, "touch /sys/x 2>&1 || true")


@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="the host has no loop devices")
def test_an_image_can_be_mounted_and_is_gone_with_the_sandbox(root: Path) -> None:
    image = root / "image"
    with image.open("wb") as file:
        file.truncate(1 << 22)
    subprocess.run(["mke2fs", "-q", image], check=True)
    (root / "mnt").mkdir()
    assert "lost+found" in inside(root, "mount -o loop /image /mnt; ls /mnt")
    attached = subprocess.run(["losetup", "-j", image], capture_output=True, text=True, check=True)
    assert attached.stdout == ""


def test_a_bind_is_read_only_unless_it_says_otherwise(root: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (root / "mnt").mkdir()
    said = inside(root, "touch /mnt/x 2>&1 || true", Bind(source=shared, target="/mnt"))
    assert "Read-only" in said
    inside(root, "touch /mnt/x", Bind(source=shared, target="/mnt", writable=True))
    assert (shared / "x").exists()


def test_without_network_there_is_only_loopback(root: Path) -> None:
    assert inside(root, "tail -n +3 /proc/net/dev | wc -l").strip() in ("0", "1")


def test_environment_is_only_what_the_command_says(root: Path) -> None:
    os.environ["SURPRISE"] = "1"
    try:
        assert "SURPRISE" not in inside(root, "env")
    finally:
        del os.environ["SURPRISE"]


def test_a_mount_of_a_host_command_reaches_the_builder_but_not_the_host(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from imagebuilder.process import Command
        from imagebuilder.sandbox.isolate import isolate
        from imagebuilder.sandbox.model import Sandbox
        from imagebuilder.sandbox.session import enter
        isolate()
        with enter(Sandbox()) as session:
            session(Command(("mount", "-t", "tmpfs", "x", {str(tmp_path)!r})))
        print({str(tmp_path)!r} in Path("/proc/self/mountinfo").read_text())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_failure_carries_the_output() -> None:
    with pytest.raises(CommandError, match=r"exit status 3\noops"):
        run(Sandbox(), "echo oops; exit 3")


def test_a_missing_program_is_status_127() -> None:
    with enter(Sandbox()) as session:
        outcome = session.execute(Command(("/no/such/program",)), lambda _: None)
    assert outcome.exited.status == 127


def test_status_of_a_killed_command_is_a_shells() -> None:
    with enter(Sandbox()) as session:
        outcome = session.execute(Command(("bash", "-c", "kill -9 $$")), lambda _: None)
    assert outcome.exited.status == 137


def test_descriptor_three_is_captured_and_kept_from_the_output() -> None:
    chunks: list[bytes] = []
    with enter(Sandbox()) as session:
        outcome = session.execute(
            Command(("bash", "-c", "echo out; echo secret >&3")), chunks.append, capture=True
        )
    assert outcome.captured == b"secret\n"
    assert b"".join(chunks) == b"out\n"


def test_a_large_output_arrives_whole() -> None:
    assert len(run(Sandbox(), "head -c 3000000 /dev/zero | tr '\\0' x")) == 3_000_000


def test_standard_input_is_given_or_empty() -> None:
    with enter(Sandbox()) as session:
        assert session(Command(("cat",), stdin=b"hello")).output == "hello"
        assert not session(Command(("cat",))).output


def test_a_daemon_lives_through_the_session_and_dies_with_it(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    with enter(Sandbox()) as session:
        loop = f"while :; do date +%N >{beat}; sleep 0.05; done"
        session(Command(("bash", "-c", f"setsid bash -c '{loop}' >/dev/null 2>&1 &")))
        time.sleep(0.3)
        assert beat.exists()
        assert session(Command(("pgrep", "-fc", str(beat)))).output.strip() != "0"
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


def test_a_command_that_ignores_term_ends_at_its_deadline() -> None:
    begun = time.monotonic()
    with enter(Sandbox(deadline=0.5)) as session:
        outcome = session.execute(
            Command(("bash", "-c", "trap '' TERM; while :; do sleep 1; done")), lambda _: None
        )
    assert outcome.exited.timed_out
    assert outcome.exited.status == 124
    assert time.monotonic() - begun < 8


def test_a_daemon_that_floods_its_output_does_not_hold_up_the_session() -> None:
    with enter(Sandbox()) as session:
        begun = time.monotonic()
        session.execute(Command(("bash", "-c", "yes & exit 0")), lambda _: None)
    assert time.monotonic() - begun < 5


BUILDER = """
from imagebuilder.process import Command
from imagebuilder.sandbox.isolate import isolate
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter
import sys
isolate()
kernel.mount("tmpfs", sys.argv[1], "tmpfs")
with enter(Sandbox()) as session:
    print("ready", flush=True)
    sleep = f"sleep {sys.argv[2]}"
    session(Command(("bash", "-c", f"(setsid {sleep} &); mount -t tmpfs t /mnt; {sleep}")))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_builder_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    for attempt in range(5):
        tag = f"9{os.getpid()}{attempt}"
        builder = subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path), tag],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=take_signals,
        )  # fmt: skip
        assert builder.stdout
        assert builder.stdout.readline() == b"ready\n"
        time.sleep(0.05 * attempt)
        builder.send_signal(number)
        builder.wait(timeout=5)
        builder.stdout.close()
        end = time.monotonic() + 2
        while _running(tag) and time.monotonic() < end:
            time.sleep(0.02)
        assert not _running(tag)
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def _running(tag: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", tag.encode()]:
            found.append(process.name)
    return found

"""Faults: kills, full disks, missing rights. An old output survives, and nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]


def left_behind(workshop: Workshop) -> list[str]:
    """Mounts, loop devices and processes that have to do with a workshop."""
    marks = str(workshop.scratch)
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if marks in line]
    for loop in Path("/sys/block").glob("loop*/loop/backing_file"):
        found += [str(loop)] if marks in loop.read_text() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        found += [f"process {process.name}"] if marks.encode() in text else []
    return found


def wait_until_gone(workshop: Workshop, seconds: float) -> list[str]:
    end = time.monotonic() + seconds
    while (found := left_behind(workshop)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def until(program: subprocess.Popen[str], text: str) -> None:
    """Read a build's log up to a line that has `text`."""
    assert program.stdout
    for line in program.stdout:
        if text in line:
            return
    raise AssertionError(f"the build never said {text!r}")


@pytest.fixture
def slow(workshop: Workshop) -> Workshop:
    """A workshop with an element whose install hook starts a daemon, mounts, and takes long."""
    workshop.element("slow", {
        "extra-data.d/50-mount": "mkdir $TMP_MOUNT_PATH/m; mount -t tmpfs x $TMP_MOUNT_PATH/m\n",
        "install.d/50-slow": "sleep 600 &\necho sleeping\nsleep 600\n",
    })  # fmt: skip
    return workshop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_build_within_two_seconds(slow: Workshop, number: int) -> None:
    (slow.directory / "out.qcow2").write_text("old")
    with slow.start("-n", "-o", "out", "tiny", "slow") as program:
        until(program, "sleeping")
        begun = time.monotonic()
        program.send_signal(number)
        program.send_signal(number)
        rest, _ = program.communicate(timeout=10)
    assert program.returncode == 128 + number
    assert time.monotonic() - begun < 2
    assert f"failed with status {128 + number}" in rest
    assert f"stopped by signal {int(number)}" in rest
    assert "Traceback" not in rest
    assert not wait_until_gone(slow, 2)
    assert not list(slow.scratch.iterdir())
    assert (slow.directory / "out.qcow2").read_text() == "old"
    assert len(list(slow.directory.glob("out*"))) == 1


@pytest.mark.parametrize("moment", ["root begins", "sleeping", "install begins"])
def test_nothing_survives_a_sigkill_and_the_next_build_clears_up(
    slow: Workshop, moment: str
) -> None:
    (slow.directory / "out.qcow2").write_text("old")
    with slow.start("-n", "-o", "out", "tiny", "slow") as program:
        until(program, moment)
        program.kill()
        program.wait()
    assert not wait_until_gone(slow, 2)
    assert [path.name for path in slow.directory.glob("*out*")] == ["out.qcow2"]
    done = slow.create("-n", "-t", "tar", "-o", "next", "tiny")
    assert done.returncode == 0, done.stdout
    assert not list(slow.scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_outputs_are_the_old_or_the_new_when_a_build_is_ended(
    workshop: Workshop, number: int
) -> None:
    """They are written side by side, in processes of their own."""
    outputs = [workshop.directory / f"out.{name}" for name in ("qcow2", "vmdk", "tar", "tgz")]
    words = ("-n", "-o", "out", "-t", "qcow2,vmdk,tar,tgz", "tiny")
    again = {"IMAGEBUILDER_NO_CACHE": "1", "OVERWRITE_OLD_IMAGE": "1"}
    assert workshop.create(*words, **again).returncode == 0
    whole = [hashlib.sha256(output.read_bytes()).hexdigest() for output in outputs]
    for attempt in range(4):
        with workshop.start(*words, **again) as program:
            until(program, ("tgz begins", "pour begins")[attempt % 2])
            time.sleep(attempt * 0.03)
            program.send_signal(number)
            program.communicate(timeout=10)
        assert [hashlib.sha256(output.read_bytes()).hexdigest() for output in outputs] == whole
        assert not wait_until_gone(workshop, 2)
        names = {path.name for path in workshop.directory.glob("*out*")}
        assert names == {*(output.name for output in outputs), "out.d"}


def test_equal_builds_give_equal_bytes(workshop: Workshop) -> None:
    words = ("-n", "-t", "qcow2,raw,tar,tgz", "tiny")
    sums = []
    for name, zone in (("one", "UTC"), ("two", "Asia/Tokyo")):
        (workshop.directory / name).mkdir()
        done = workshop.create("-o", f"{name}/out", *words, TZ=zone, IMAGEBUILDER_NO_CACHE="1")
        assert done.returncode == 0, done.stdout
        files = sorted(path for path in (workshop.directory / name).iterdir() if path.is_file())
        sums.append([(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
    assert [name for name, _ in sums[0]] == ["out.qcow2", "out.raw", "out.tar", "out.tgz"]
    assert sums[0] == sums[1]


def test_an_old_output_is_kept_under_a_dated_name(workshop: Workshop) -> None:
    (workshop.directory / "out.tar").write_text("old")
    assert workshop.create("-n", "-t", "tar", "-o", "out", "tiny").returncode == 0
    kept = list(workshop.directory.glob("out-*.tar"))
    assert [path.read_text() for path in kept] == ["old"]


def in_small_tmpfs(workshop: Workshop, directory: Path, size: str, *words: str) -> tuple[int, str]:
    """Run a build while `directory` is a tmpfs of `size`, in a mount namespace of its own."""
    directory.mkdir(exist_ok=True)
    import sys

    script = f'mount -t tmpfs -o size={size} small {directory} && exec "$@"'
    create = "from imagebuilder.cli.start import disk_image_create; disk_image_create()"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "-", sys.executable, "-c", create, *words],
        cwd=workshop.directory, env=workshop.variables({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_full_output_directory_is_said_and_leaves_nothing(workshop: Workshop) -> None:
    target = workshop.directory / "small"
    status, said = in_small_tmpfs(
        workshop, target, "2m", "-n", "-t", "raw,qcow2,tar", "-o", "small/out", "tiny"
    )
    assert status == 1
    assert "no space" in said.lower()
    assert "small" in said
    assert "Traceback" not in said


def test_a_full_scratch_directory_is_said(workshop: Workshop) -> None:
    status, said = in_small_tmpfs(
        workshop, workshop.scratch, "6m", "-n", "--no-tmpfs", "-o", "out", "tiny"
    )
    assert status == 1
    assert "no space left" in said.lower()
    assert "Traceback" not in said
    assert [path.name for path in workshop.directory.glob("out*")] == ["out.d"]


def test_a_full_cache_costs_the_cache_alone_and_is_one_line(workshop: Workshop) -> None:
    cache = workshop.directory / "cache"
    words = ("-n", "--image-cache", str(cache), "-t", "tar", "-o", "out", "tiny")
    status, said = in_small_tmpfs(workshop, cache, "4m", *words)
    assert status == 0, said
    assert said.count("No space left on device") == 1
    assert "cache: not cached: cp: error writing" in said
    assert (workshop.directory / "out.tar").exists()


def test_too_small_an_image_is_refused_with_the_size_that_would_do(workshop: Workshop) -> None:
    done = workshop.create("-n", "-o", "out", "--image-size", "0.01", "tiny")
    assert done.returncode == 1
    assert "too small" in done.stdout
    assert "at least" in done.stdout
    size = done.stdout.rsplit("at least ", 1)[1].split()
    assert size[1] in ("KiB", "MiB")


def test_without_rights_the_reason_is_said(workshop: Workshop) -> None:
    workshop.directory.chmod(0o777)
    workshop.scratch.chmod(0o777)
    for parent in workshop.directory.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o755)
    import sys

    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
         sys.executable, "-m", "imagebuilder", "build", "-n", "-o", "out", "tiny"],
        cwd=workshop.directory, env=workshop.variables({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "not enough privilege" in done.stdout
    assert "hint: run as root" in done.stdout

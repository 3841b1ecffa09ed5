"""Break points, and the variables around a build that say how hooks are run."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from conftest import CREATE

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
BUILD = ("-n", "-t", "tar", "-o", "out", "tiny")


def seen(directory: Path, name: str) -> list[str]:
    return (directory / name).read_text().splitlines()


def test_break_points_of_the_host_run_a_command_in_the_phases_environment(
    workshop: Workshop,
) -> None:
    done = workshop.create(
        *BUILD,
        **{
            "break": "before-root,before-extra-data,after-nothing,before-cleanup",
            "break_cmd": 'echo "$DISTRO_NAME ${TARGET_ROOT:-no} $TMP_MOUNT_PATH" >>seen; '
            "ls $TMP_MOUNT_PATH >>seen",
        },
    )
    assert done.returncode == 0, done.stdout
    for point in ("before-root", "before-extra-data", "before-cleanup"):
        assert f"At stage {point}" in done.stdout
    first, second, *_ = [line for line in seen(workshop.directory, "seen") if "tiny" in line]
    name, root, tree = first.split()
    assert (name, root) == ("tiny", tree)
    assert second == f"tiny no {tree}"  # only root and cleanup know TARGET_ROOT
    assert seen(workshop.directory, "seen").count("usr") == 2


def test_a_shell_inside_reads_standard_input_and_goes_on(workshop: Workshop) -> None:
    workshop.element("step", {"install.d/50-step": "cat /note >/copied\n"})
    script = "pwd; test -x /tmp/in_target.d/dib-run-parts; echo by hand >/note\nexit 0\n"
    done = subprocess.run(
        [sys.executable, "-c", CREATE, *BUILD, "step"],
        cwd=workshop.directory,
        env=workshop.variables({"break": "before-install", "break_cmd": "false"}),
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "At stage before-install" in done.stdout
    assert "install | /\n" in done.stdout


# Runs a command as nobody, who owns a range of ids; it has neither a home nor files of its own.
AS_NOBODY = """\
echo nobody:200000:65536 >ids
mount --bind ids /etc/subuid
mount --bind ids /etc/subgid
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""
NOBODY = ("unshare", "--mount", "bash", "-euc", AS_NOBODY, "bash")
NEEDED = ("newuidmap", "newgidmap", "setpriv")


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="root"),
        pytest.param(
            NOBODY,
            id="nobody",
            marks=pytest.mark.skipif(
                not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"
            ),
        ),
    ],
)
def test_a_shell_gets_a_terminal_of_its_own(workshop: Workshop, before: tuple[str, ...]) -> None:
    workshop.element("step", {"install.d/50-step": "test -e /typed\n"})
    give_to_all(workshop)
    ours, theirs = pty.openpty()
    variables = workshop.variables({"break": "before-install", "TERM": "dumb"})
    with subprocess.Popen(
        [*before, sys.executable, "-c", CREATE, *BUILD, "step"],
        cwd=workshop.directory,
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as program:
        shown = read_until(ours, b"At stage before-install")
        shown += read_until(ours, b"# ")
        # Not `echo; sleep`: a Ctrl-C between the two would end neither, and wait for the sleep.
        os.write(ours, b"bash -c 'echo sle\"\"ep; exec sleep 60'\n")
        shown += read_until(ours, b"sleep\r\n")
        os.write(ours, b"\x03")  # ends what runs in the shell, and neither that nor the build
        shown += read_until(ours, b"# ")
        os.write(ours, b"[ -t 0 ] && touch /typed; echo done$?\nexit 0\n")
        shown += read_until(ours, b"Build completed successfully")
        assert program.wait(timeout=60) == 0, shown
    os.close(theirs)
    os.close(ours)
    assert b"done0" in shown
    assert b"no job control" not in shown


def give_to_all(workshop: Workshop) -> None:
    """Let any user build in the workshop."""
    for directory in (workshop.directory, workshop.scratch):
        directory.chmod(0o777)
    for parent in workshop.directory.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o755)


def read_until(descriptor: int, text: bytes, patience: float = 60) -> bytes:
    shown, end = b"", time.monotonic() + patience
    while text not in shown:
        assert time.monotonic() < end, shown
        if select.select([descriptor], [], [], 1)[0]:
            shown += os.read(descriptor, 1 << 16)
    return shown


@pytest.mark.parametrize("outside", ["", "1"])
def test_after_an_error_inside_the_command_runs_on_the_side_that_was_asked_for(
    workshop: Workshop, outside: str
) -> None:
    """With `break_outside_target` as diskimage-builder's own functional tests use it."""
    workshop.element("bad", {"install.d/50-bad": "echo no >/tmp/dib-test-should-fail; exit 9\n"})
    keep = f"cp -v $TMP_MOUNT_PATH/tmp/dib-test-should-fail {workshop.directory}/kept"
    look = f"{keep}; exit 3" if outside else "cat /tmp/dib-test-should-fail"
    variables = {"break": "after-error", "break_cmd": look, "break_outside_target": outside}
    done = workshop.create(*BUILD, "bad", **variables)
    assert done.returncode == 9
    assert "At stage after-error" in done.stdout
    if outside:
        assert seen(workshop.directory, "kept") == ["no"]
    else:
        assert "install | no\n" in done.stdout


def test_there_is_no_point_after_an_error_of_the_host(workshop: Workshop) -> None:
    workshop.element("bad", {"extra-data.d/50-bad": "exit 9\n"})
    done = workshop.create(*BUILD, "bad", **{"break": "after-error", "break_cmd": "touch ran"})
    assert done.returncode == 9
    assert not (workshop.directory / "ran").exists()


def test_a_command_that_fails_at_a_break_point_ends_the_build(workshop: Workshop) -> None:
    done = workshop.create(*BUILD, **{"break": "before-root", "break_cmd": "exit 6"})
    assert done.returncode == 6
    assert "break point before-root ended with status 6" in done.stdout


def test_a_build_with_break_points_takes_nothing_from_the_cache(workshop: Workshop) -> None:
    assert workshop.create(*BUILD).returncode == 0
    done = workshop.create(*BUILD, **{"break": "after-extra-data", "break_cmd": "true"})
    assert "At stage after-extra-data" in done.stdout


def test_c_hands_on_only_what_is_about_images(workshop: Workshop) -> None:
    workshop.element("look", {"install.d/50-look": "env >/dev/fd/2\n"})
    given = {"MINE": "mine", "DIB_MINE": "mine", "https_proxy": "http://p", "PIP_CERT": "/no"}
    done = workshop.create("-c", *BUILD, "look", **given)
    assert done.returncode == 0, done.stdout
    assert "look | DIB_MINE=mine\n" in done.stdout
    assert "look | https_proxy=http://p\n" in done.stdout
    assert "look | MINE=" not in done.stdout
    assert "PIP_CERT" not in done.stdout


def test_x_shows_what_environment_d_does(workshop: Workshop) -> None:
    workshop.element("set", {
        "environment.d/50-set": "export MINE=mine MY_TOKEN=verysecret\n",
        "install.d/50-trace": '[ "$DIB_DEBUG_TRACE" -gt 1 ] || exit 0; set -x; : traced\n',
    })  # fmt: skip
    once, twice = (workshop.create(*BUILD, "--no-cache", "set", x) for x in ("-x", "-xx"))
    assert "sourced environment.d/50-set" in once.stdout
    assert "| MINE=mine\n" not in once.stdout
    assert "| MINE=mine\n" in twice.stdout
    assert "| MY_TOKEN=***\n" in twice.stdout
    assert "+ : traced\n" in twice.stdout
    assert "traced" not in once.stdout


def test_the_scratch_directory_is_in_tmpdir_rather_than_tmp_dir(workshop: Workshop) -> None:
    workshop.element("look", {"root.d/60-look": 'echo "in $TMP_BUILD_DIR"; ls -d $DIB_LOCKFILES\n'})
    other = workshop.directory / "other"
    other.mkdir()
    both = workshop.create(*BUILD, "look", TMP_DIR=str(other))
    assert f"in {workshop.scratch}/dib_build." in both.stdout
    one = workshop.create(*BUILD, "look", TMPDIR="", TMP_DIR=str(other))
    assert f"in {other}/dib_build." in one.stdout
    assert one.returncode == 0

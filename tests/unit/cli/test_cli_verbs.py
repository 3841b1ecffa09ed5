"""What all verbs have in common: wrong use and a full disk are one line each."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from imagebuilder.cli import guard, verbs
from imagebuilder.cli.guard import guarded


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["deb", "patch", "x", "-o", "y", "--bad", "z"],
            "deb patch: unrecognized arguments: --bad z",
        ),
        (["iso", "--bad", "ls", "x"], "iso: unrecognized arguments: --bad"),
        (["squashfs"], "squashfs: the following arguments are required: ACTION"),
    ],
)
def test_wrong_use_is_told_with_the_verb_that_does_not_know_it(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(words) == 2
    where = said.partition(":")[0]
    hint = f"  hint: 'imagebuilder {where} --help' lists what there is\n"
    assert capsys.readouterr().err == f"error: {said}\n{hint}"


def test_names_keep_their_capitals_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        verbs.main(["iso", "test", "--help"])
    assert "as a CD and a disk, by BIOS, UEFI and Secure Boot." in capsys.readouterr().out


def test_a_full_disk_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_up() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/x")

    assert guarded(fill_up) == 5
    assert "error: /scratch/x: no space left on device" in capsys.readouterr().err


def test_another_error_of_the_system_stays_one() -> None:
    def fail() -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        guarded(fail)


@pytest.mark.parametrize(
    "words",
    [
        "iso show ODD",
        "iso ls ODD",
        "iso cat ODD x",
        "iso extract ODD x -o out",
        "iso remaster ODD -o out",
        "iso remaster --recipe ODD -o out",
        "iso diff ODD ODD",
        "iso test ODD",
        "iso boot ODD",
        "initrd ls ODD",
        "initrd cat ODD x",
        "initrd append ODD -o out --add ODD:/x",
        "initrd edit ODD -o out",
        "squashfs ls ODD",
        "squashfs cat ODD x",
        "squashfs edit ODD -o out --delete x",
        "deb show ODD",
        "deb unpack ODD -o out",
        "deb patch ODD -o out",
        "deb add . ODD",
        "answers check ODD",
        "netboot publish ODD -o out",
        "boot ODD",
        "boot FILE --disk ODD",
        "boot FILE --seed ODD",
        "oci unpack ODD DIRECTORY",
    ],
)
@pytest.mark.parametrize(("odd", "kind"), [("pipe", "a pipe"), ("/dev/zero", "a device")])
def test_nobody_waits_for_what_has_no_end(
    words: str, odd: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(bytes(1024))
    (tmp_path / "directory").mkdir()
    place = str(tmp_path / odd)
    named = words.replace("ODD", place).replace("out", str(tmp_path / "out"))
    named = named.replace("FILE", str(tmp_path / "file"))
    named = named.replace("DIRECTORY", str(tmp_path / "directory"))
    assert verbs.main(named.split()) == 2
    assert f"error: {place}: " in (said := capsys.readouterr().err)
    assert f"it is {kind}, not a file" in said
    assert not (tmp_path / "out").exists()


def test_a_pipe_of_the_shell_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.write(writing, b"nonsense: yes\n")
    os.close(writing)
    assert verbs.main(["iso", "remaster", "--recipe", f"/dev/fd/{reading}", "-o", "out"]) == 2
    os.close(reading)
    assert "nonsense" in capsys.readouterr().err


def started(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """What comes of a shell script in which IT is `imagebuilder`."""
    return subprocess.run(
        ["sh", "-c", script.replace("IT", f"{shlex.quote(sys.executable)} -m imagebuilder")],
        cwd=directory, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(guard.__file__).parents[2])},
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_do_no_harm(closed: str, tmp_path: Path) -> None:
    assert started(f"IT elements {closed}", tmp_path).returncode == 0
    assert started(f"IT iso show nothing {closed}", tmp_path).returncode == 2


def test_a_full_output_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    done = started("IT elements >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (
        5,
        "error: standard output: no space left on device\n",
    )


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = started("rmdir ../gone; IT elements", tmp_path / "gone")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the directory that this was started in has been removed")

"""What all verbs have in common: wrong use and a full disk are one line each."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from imagebuilder.cli import start, verbs
from imagebuilder.cli.guard import guarded

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "/x"),
            1,
            "error: /x: File name too long\n",
        ),
        (OSError(errno.EIO, os.strerror(errno.EIO)), 1, "error: Input/output error\n"),
        (RecursionError(), 1, "error: something is nested too deeply\n"),
        (MemoryError(), 5, "error: out of memory\n"),
        (OSError(errno.ENOSPC, "full"), 5, "error: no space left on device\n  hint: make room"),
    ],
)
def test_what_the_machine_refuses_is_no_traceback(
    error: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert guarded(fail) == status
    assert capsys.readouterr().err.startswith(said)


def _program(*words: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run `imagebuilder` from a shell, with `words` for what the shell does to its streams."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given}
    script = f"{shlex.quote(sys.executable)} -m imagebuilder {' '.join(words)}"
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def test_closed_streams_are_no_places_for_files() -> None:
    done = _program("--help", ">&-", "<&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_standard_output_that_is_full_is_said_once() -> None:
    done = _program("--version", ">/dev/full")
    assert done.returncode == 5
    assert done.stderr.startswith(
        "error: no space left on device\n  hint: make room where standard"
    )
    assert len(done.stderr.splitlines()) == 2


def test_a_directory_that_is_gone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert guarded(lambda: len(str(Path.cwd()))) == 1
    assert "error: the current directory has been removed\n" in capsys.readouterr().err


def test_names_are_bytes_whatever_the_locale_says() -> None:
    own = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = _program("lint", "/no/ü", **own)
    assert done.stderr.startswith("error: neither an element nor a directory: '/no/ü'")


def test_what_makes_the_callers_shell_another_one_reaches_no_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strange = {"BASH_ENV": "/x", "SHELLOPTS": "noexec", "BASH_FUNC_cp%%": "() { exit 7; }"}
    for name, value in {**strange, "DIB_BASH_ENV": "kept"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["imagebuilder", "--version"])
    with pytest.raises(SystemExit):
        start.imagebuilder()
    assert not strange.keys() & os.environ.keys()
    assert os.environ["DIB_BASH_ENV"] == "kept"


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

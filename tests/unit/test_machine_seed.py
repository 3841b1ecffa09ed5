"""Seeds for cloud-init, and errands in them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from imagebuilder.errors import ConfigError
from imagebuilder.machine import seed
from imagebuilder.machine.errand import Errand
from imagebuilder.process import Command, Recorder, Result

ERRAND = Errand("echo 'it is' up; exit 3", "run-1")


def carried_out(errand: Errand, tmp_path: Path) -> str:
    """What the errand's script says, with a file for the serial port."""
    port = tmp_path / "port"
    script = errand.report().replace("/dev/ttyS0", str(port)).replace("sleep 1", ":")
    script = script.replace('>"$port"', '>>"$port"')
    subprocess.run(["sh", "-u", "-c", script], check=True, timeout=10)
    return port.read_text().replace("\r", "")


def test_an_errand_reports_its_output_and_status(tmp_path: Path) -> None:
    said = carried_out(ERRAND, tmp_path)
    assert said.lstrip().startswith("run-1 begins\nrun-1 | it is up\n")
    assert said.count("run-1 exited with 3\n") == 3


def test_an_errands_output_is_told_from_the_rest_of_the_console() -> None:
    console = "run-1 begins\n[ 9.9] usb 1-1\nrun-1 | a\nhost login: run-1 | b | c\nrun-1 exited"
    assert ERRAND.output(console) == "a\nb | c\n"


def test_the_status_is_not_taken_from_another_errand() -> None:
    assert ERRAND.finished.search("run-2 exited with 0") is None
    match = ERRAND.finished.search("run-1 exited with 12\n")
    assert match is not None
    assert match[1] == "12"


def test_output_without_a_last_newline_and_error_output_are_reported(tmp_path: Path) -> None:
    said = carried_out(Errand("printf one; echo two >&2; printf three", "run-1"), tmp_path)
    assert Errand("", "run-1").output(said) == "onetwo\nthree\n"


def test_any_command_survives_the_quoting(tmp_path: Path) -> None:
    odd = "'\"$HOME\\`%s"
    said = carried_out(Errand(f"printf '%s\\n' {shlex.quote(odd)}", "run-1"), tmp_path)
    assert Errand("", "run-1").output(said) == f"{odd}\n"


def test_a_seed_names_its_instance() -> None:
    meta = yaml.safe_load(seed.files({}, None, "i-7")["meta-data"])
    assert meta == {"instance-id": "i-7", "local-hostname": "imagebuilder"}


def test_an_errand_alone_is_a_script() -> None:
    assert seed.files({}, ERRAND, "i-7")["user-data"] == ERRAND.script().encode()


def test_an_errand_joins_the_users_own_user_data() -> None:
    given = {"user-data": b"#cloud-config\nhostname: web\n"}
    content = seed.files(given, ERRAND, "i-7")["user-data"].decode()
    first, rest = content.split("\n", 1)
    assert first == "#cloud-config-archive"
    parts = [part["content"] for part in json.loads(rest)]
    assert parts == ["#cloud-config\nhostname: web\n", ERRAND.script()]


def test_user_data_that_is_no_text_takes_no_errand() -> None:
    given = {"user-data": b"\x1f\x8b\xff"}
    with pytest.raises(ConfigError, match="is not text") as caught:
        seed.files(given, ERRAND, "i-7")
    assert "uncompressed" in caught.value.hint
    assert seed.files(given, None, "i-7")["user-data"] == given["user-data"]


def test_the_users_own_meta_data_is_kept() -> None:
    given = {"user-data": b"", "meta-data": b"instance-id: mine\n"}
    assert seed.files(given, None, "i-7")["meta-data"] == b"instance-id: mine\n"


def test_a_file_is_user_data(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("#cloud-config\n")
    assert seed.load(tmp_path / "web.yaml") == {"user-data": b"#cloud-config\n"}


def test_a_directory_gives_the_files_that_a_seed_has(tmp_path: Path) -> None:
    for name in ("user-data", "network-config", "notes.txt"):
        (tmp_path / name).write_text(name)
    assert sorted(seed.load(tmp_path)) == ["network-config", "user-data"]


def test_a_directory_without_a_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no seed") as caught:
        seed.load(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_a_seed_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone: cannot be read: No such file"):
        seed.load(tmp_path / "gone")


def test_a_seed_becomes_a_labelled_fat_filesystem(tmp_path: Path) -> None:
    copied = {}

    def run(command: Command) -> Result:
        if command.argv[0] == "mcopy":
            copied.update({Path(p).name: Path(p).read_bytes() for p in command.argv[3:-1]})
        return record(command)

    record, image = Recorder(), tmp_path / "seed.img"
    seed.make({"user-data": b"u", "meta-data": b"m"}, image, run)
    made, filled = record.commands
    assert made.argv == ("mkfs.vfat", "-C", "-n", "CIDATA", str(image), "1025")
    assert (filled.argv[:3], filled.argv[-1]) == (("mcopy", "-i", str(image)), "::/")
    assert copied == {"meta-data": b"m", "user-data": b"u"}

"""The doctor, on hosts made of a few files."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.cli import doctor
from imagebuilder.cli.doctor import Host
from imagebuilder.errors import CommandError
from imagebuilder.process import Command, Recorder, Result
from imagebuilder.tools import table as tools

KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"


class Refusing(Recorder):
    """A recorder whose first commands with `word` in them fail."""

    def __init__(self, word: str, times: int = 1) -> None:
        super().__init__()
        self.word, self.times = word, times

    def __call__(self, command: Command) -> Result:
        result = super().__call__(command)
        if self.word in command.argv and self.times:
            self.times -= 1
            raise CommandError("exit status 1\nE: no luck", where=str(command))
        return result


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def bring(root: Path, *programs: str) -> None:
    for program in programs:
        put(root, f"bin/{program}").chmod(0o755)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A Debian with everything that a build needs, seen by root."""
    bring(tmp_path, *(tool.name for tool in tools.needed(tools.JOBS["build"]) if not tool.files))
    put(tmp_path, KEYRING)
    put(tmp_path, "etc/os-release", "ID=debian\n")
    put(tmp_path, "var/lib/apt/lists/mirror_main_Packages.lz4")
    return Host(
        run=Recorder(),
        stream=Recorder(),
        find=lambda program: shutil.which(program, path=str(tmp_path / "bin")),
        root=tmp_path,
        user=0,
        name="root",
        temporary=tmp_path,
        environment={},
    )


def diagnose(host: Host, *words: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.diagnose(parser.parse_args(words), host)


def streamed(host: Host) -> list[str]:
    assert isinstance(host.stream, Recorder)
    return [str(command) for command in host.stream.commands]


def test_a_host_with_everything_is_told_so(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(host) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "everything needed is here"
    assert "missing" not in "".join(lines)


def test_what_is_missing_is_named_with_its_package(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.root / "bin/mcopy").unlink()
    (host.root / KEYRING).unlink()
    assert diagnose(host) == 3
    out = capsys.readouterr().out
    assert "mcopy" in next(
        line for line in out.splitlines() if "missing" in line and "mtools" in line
    )
    assert out.splitlines()[-1] == (
        "not as needed: debian-archive-keyring.gpg, mcopy; as root: "
        "apt-get install -y --no-install-recommends debian-archive-keyring mtools"
    )


def test_versions_are_shown(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    said = {str(host.root / "bin/tar"): "tar (GNU tar) 1.34\n"}
    assert diagnose(replace(host, run=Recorder(**said))) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("tar "))
    assert row.split()[:3] == ["tar", "1.34", "tar"]


def test_a_program_that_is_too_old_is_not_enough(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {str(host.root / "bin/mke2fs"): "mke2fs 1.42.9 (28-Dec-2013)\n"}
    assert diagnose(replace(host, run=Recorder(**said))) == 3
    assert "1.42.9, older than 1.43" in capsys.readouterr().out


def test_a_program_that_will_not_tell_its_version_is_there(host: Host) -> None:
    assert diagnose(replace(host, run=Refusing("--version", times=99))) == 0


def test_json_is_all_that_is_printed(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (host.root / "bin/tar").unlink()
    assert diagnose(host, "--json") == 3
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["tar"] == {
        "name": "tar", "found": "missing", "purpose": "packs and unpacks trees",
        "package": "tar", "ok": False,
    }  # fmt: skip
    assert found["bash"]["ok"]


def test_boots_need_qemu_and_firmware(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(host, "--for", "boot") == 3
    assert capsys.readouterr().out.splitlines()[-1].endswith("ovmf qemu-system-x86")


def test_all_is_everything_that_tests_need_too(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagnose(host, "--for", "all") == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert {"shellcheck", "gdisk", "acl", "ovmf", "qemu-system-x86"} <= set(last.split())


def test_installing_takes_what_is_missing_and_looks_again(host: Host) -> None:
    (host.root / "bin/mmd").unlink()
    apt = Recorder()

    def install(command: Command) -> Result:
        bring(host.root, "mmd")
        return apt(command)

    assert diagnose(replace(host, stream=install), "--install") == 0
    assert [str(command) for command in apt.commands] == [
        "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mtools"
    ]


def test_nothing_is_installed_where_nothing_is_missing(host: Host) -> None:
    assert diagnose(host, "--install") == 0
    assert streamed(host) == []


def test_empty_package_lists_are_fetched_first(host: Host) -> None:
    (host.root / "bin/tar").unlink()
    (host.root / "var/lib/apt/lists/mirror_main_Packages.lz4").unlink()
    assert diagnose(host, "--install") == 3
    assert [line.split("apt-get ")[1].split()[0] for line in streamed(host)] == [
        "update",
        "install",
    ]


def test_old_package_lists_are_fetched_again(host: Host) -> None:
    (host.root / "bin/tar").unlink()
    host = replace(host, stream=Refusing("install"))
    diagnose(host, "--install")
    verbs = [line.split("apt-get ")[1].split()[0] for line in streamed(host)]
    assert verbs == ["install", "update", "install"]


def test_an_installation_that_fails_twice_is_an_error(host: Host) -> None:
    (host.root / "bin/tar").unlink()
    with pytest.raises(CommandError, match="no luck"):
        diagnose(replace(host, stream=Refusing("install", times=2)), "--install")


def test_proxies_reach_apt(host: Host) -> None:
    (host.root / "bin/tar").unlink()
    host = replace(host, environment={"http_proxy": "http://proxy:3128"})
    diagnose(host, "--install")
    assert "http_proxy=http://proxy:3128 apt-get" in streamed(host)[0]


def as_user(host: Host) -> Host:
    bring(host.root, "newuidmap", "newgidmap", "unshare")
    put(host.root, "etc/subuid", "ann:100000:65536\n")
    put(host.root, "etc/subgid", "ann:100000:65536\n")
    return replace(host, user=1000, name="ann")


def test_users_install_through_sudo(host: Host) -> None:
    user = as_user(host)
    bring(host.root, "sudo")
    (host.root / "bin/tar").unlink()
    diagnose(user, "--install")
    assert streamed(user)[0].startswith("sudo env ")


def test_users_without_sudo_are_told_what_root_can_do(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    user = as_user(host)
    (host.root / "bin/tar").unlink()
    assert diagnose(user, "--install") == 3
    assert streamed(user) == []
    assert "as root: apt-get install" in capsys.readouterr().out


def test_other_families_are_told_what_to_install(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    put(host.root, "etc/os-release", "ID=fedora\n")
    (host.root / "bin/qemu-img").unlink()
    assert diagnose(host, "--install") == 3
    assert streamed(host) == []
    assert capsys.readouterr().out.splitlines()[-1].endswith("as root: dnf install -y qemu-img")


def test_users_with_ranges_of_ids_can_build(host: Host) -> None:
    assert diagnose(as_user(host)) == 0


def test_users_need_ranges_of_ids(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    user = as_user(host)
    put(host.root, "etc/subuid", "bob:100000:65536\n")
    assert diagnose(user) == 3
    assert "no range for ann in /etc/subuid" in capsys.readouterr().out


def test_users_need_user_namespaces(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    user = as_user(host)
    put(host.root, "proc/sys/kernel/unprivileged_userns_clone", "0\n")
    assert diagnose(user) == 3
    assert "sysctl kernel.unprivileged_userns_clone is 0" in capsys.readouterr().out


def test_namespaces_are_tried(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    bring(host.root, "unshare")
    assert diagnose(replace(host, run=Refusing("--mount"))) == 3
    assert "refused: E: no luck" in capsys.readouterr().out


def test_elements_say_what_is_needed(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "elements/ubuntu-minimal/element-provides", "operating-system\n")
    (tmp_path / "bin/mcopy").unlink()  # no EFI partition is asked for
    host = replace(host, environment={"ELEMENTS_PATH": str(tmp_path / "elements")})
    assert diagnose(host, "ubuntu-minimal") == 3
    assert "not as needed: ubuntu-archive-keyring.gpg;" in capsys.readouterr().out


def test_streaming_shows_lines_and_returns_them(capsys: pytest.CaptureFixture[str]) -> None:
    result = doctor.stream(Command(("sh", "-c", "echo one; echo two")))
    assert (result.output, capsys.readouterr().err) == ("one\ntwo\n", "one\ntwo\n")


def test_streaming_a_failure_raises_with_the_output() -> None:
    with pytest.raises(CommandError, match="exit status 3\nbroken"):
        doctor.stream(Command(("sh", "-c", "echo broken; exit 3")))


def test_kvm_that_qemu_cannot_use_is_no_kvm(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    put(host.root, "dev/kvm")
    bring(host.root, "qemu-system-x86_64", "qemu-system-aarch64")
    assert diagnose(replace(host, run=Refusing("kvm"))) == 0
    assert "no: qemu does not start with it" in capsys.readouterr().out

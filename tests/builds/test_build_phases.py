"""Phases and hooks, seen from elements that a stranger could have written."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.process import PATH

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
REPORTS = {"report.json", "report.html"}
HOST = ("root", "extra-data", "post-root", "block-device", "pre-finalise", "cleanup")
TARGET = ("pre-install", "install", "post-install", "finalise")
ORDER = (
    "root", "extra-data", "pre-install", "install", "post-install",
    "post-root", "block-device", "pre-finalise", "finalise", "cleanup",
)  # fmt: skip


def content(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"./{name}")
        assert member
        return member.read().decode()


def test_phases_run_in_order_on_both_sides(workshop: Workshop) -> None:
    hooks = {f"{phase}.d/50-mark": f"echo {phase} >>$TMP_MOUNT_PATH/order\n" for phase in HOST}
    hooks |= {f"{phase}.d/50-mark": f"echo {phase} >>/order\n" for phase in TARGET}
    workshop.element("marks", hooks)
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "marks")
    assert done.returncode == 0, done.stdout
    assert tuple(content(workshop.directory / "out.tar", "order").split()) == ORDER
    assert done.stdout.rstrip().endswith("Build completed successfully")


def test_hooks_of_a_phase_run_in_numeric_order(workshop: Workshop) -> None:
    names = ("100-last", "10-b", "9-first", "010-a", "none")
    workshop.element("order", {f"install.d/{name}": f"echo {name} >>/order\n" for name in names})
    assert workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "order").returncode == 0
    order = content(workshop.directory / "out.tar", "order").split()
    assert order == ["none", "9-first", "010-a", "10-b", "100-last"]


def test_environment_d_reaches_every_phase_and_starts_anew_in_each(workshop: Workshop) -> None:
    workshop.element("variables", {
        "environment.d/20-mine": "export MINE=${MINE:-mine}\nexport MANY=${MANY:-}+\nLOCAL=x\n",
        "root.d/50-a": 'echo "$MINE $MANY ${LOCAL:-unset} $GIVEN" >>$TARGET_ROOT/seen\n',
        "install.d/50-b": 'echo "$MINE $MANY ${LOCAL:-unset} $GIVEN" >>/seen\n',
    })  # fmt: skip
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "variables", GIVEN="given")
    assert done.returncode == 0, done.stdout
    seen = content(workshop.directory / "out.tar", "seen").splitlines()
    assert seen == ["mine + unset given"] * 2


def test_chroot_environment_is_the_contracts(workshop: Workshop) -> None:
    workshop.element("look", {
        "install.d/50-look": "env | sort >/seen; pwd >>/seen; ls /tmp/in_target.d >>/seen\n",
        "some-data/file": "data\n",
    })  # fmt: skip
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "look", VIRTUAL_ENV="/venv")
    assert done.returncode == 0, done.stdout
    seen = content(workshop.directory / "out.tar", "seen").splitlines()
    path = f"PATH={PATH}:/tmp/in_target.d/imagebuilder/lib/bin"
    for line in (path, "HOME=/root", "LC_ALL=C", "ARCH=amd64", "IMAGE_NAME=out", "/", "some-data"):
        assert line in seen
    assert not [line for line in seen if line.startswith(("TMPDIR=", "VIRTUAL_ENV="))]


def test_a_failing_hook_ends_the_build_with_its_status(workshop: Workshop) -> None:
    workshop.element("bad", {"install.d/50-bad": "echo the last words\nexit 7\n"})
    done = workshop.create("-n", "-o", "out", "tiny", "bad")
    assert done.returncode == 7
    assert "element bad" in done.stdout
    assert f"{workshop.directory}/elements/bad/install.d/50-bad" in done.stdout
    assert done.stdout.rstrip().endswith("the last words")
    assert [path.name for path in workshop.directory.glob("out*")] == ["out.d"]
    assert {path.name for path in (workshop.directory / "out.d").iterdir()} == REPORTS
    assert "the last words" in (workshop.directory / "out.d/report.json").read_text()
    assert not list(workshop.scratch.iterdir())


def test_secrets_are_never_shown(workshop: Workshop) -> None:
    secret = "hunter" * 2
    workshop.element("tell", {"install.d/50-tell": 'set -x; : "$MY_PASSWORD"; env; exit 1\n'})
    done = workshop.create("-n", "-o", "out", "tiny", "tell", MY_PASSWORD=secret)
    assert done.returncode == 1
    assert "MY_PASSWORD=***" in done.stdout
    assert secret not in done.stdout


def test_a_duplicate_hook_names_both_elements(workshop: Workshop) -> None:
    for name in ("one", "two"):
        workshop.element(name, {"install.d/50-same": "true\n"})
    done = workshop.create("-n", "tiny", "one", "two")
    assert done.returncode == 1
    assert "50-same" in done.stdout
    assert "elements/one" in done.stdout
    assert "elements/two" in done.stdout
    assert len(done.stdout.splitlines()) <= 4


def test_a_hook_that_is_not_executable_is_warned_of(workshop: Workshop) -> None:
    element = workshop.element("quiet", {"install.d/50-not": "exit 1\n"})
    (element / "install.d/50-not").chmod(0o644)
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "quiet")
    assert done.returncode == 0
    assert "warning:" in done.stdout
    assert "50-not" in done.stdout


def test_a_hook_that_an_earlier_hook_wrote_runs_in_its_turn(workshop: Workshop) -> None:
    workshop.element("writer", {
        "extra-data.d/50-write": (
            'h=$TMP_HOOKS_PATH; mkdir -p $h/install.d\n'
            'printf "#!/bin/bash\\necho late >>/order\\n" >$h/install.d/60-late\n'
            'chmod +x $h/install.d/60-late\n'
            'echo "export LATE=1" >$h/environment.d/60-late\n'
        ),
        "install.d/50-early": 'echo early $LATE >>/order\n',
        "install.d/70-last": "echo last >>/order\n",
    })  # fmt: skip
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "writer")
    assert done.returncode == 0, done.stdout
    order = content(workshop.directory / "out.tar", "order")
    assert order == "early 1\nlate\nlast\n"


def test_mounts_of_host_hooks_last_until_the_tree_is_finished(workshop: Workshop) -> None:
    workshop.element("mounts", {
        "extra-data.d/50-mount": (
            "mkdir $TMP_MOUNT_PATH/cache\nmount -t tmpfs cache $TMP_MOUNT_PATH/cache\n"
            "echo kept >$TMP_MOUNT_PATH/cache/file\n"
        ),
        "install.d/50-use": "cat /cache/file >/used\n",
    })  # fmt: skip
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "mounts")
    assert done.returncode == 0, done.stdout
    assert content(workshop.directory / "out.tar", "used") == "kept\n"
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert "./cache/file" not in tar.getnames()
    assert "cache tmpfs" not in Path("/proc/self/mounts").read_text()


def test_the_resolver_is_lent_and_returned(workshop: Workshop) -> None:
    workshop.element("resolver", {
        "root.d/60-own": "echo own >$TARGET_ROOT/etc/resolv.conf\n",
        "install.d/50-see": "cp /etc/resolv.conf /seen\n",
    })  # fmt: skip
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "resolver")
    assert done.returncode == 0, done.stdout
    assert content(workshop.directory / "out.tar", "etc/resolv.conf") == "own\n"
    assert content(workshop.directory / "out.tar", "seen") == Path("/etc/resolv.conf").read_text()


def test_tmp_and_logs_are_emptied(workshop: Workshop) -> None:
    workshop.element(
        "mess",
        {
            "install.d/50-mess": "touch /tmp/x\necho log >/var/log/mess\n"
            "mkdir -p /root/deep; touch /root/deep/x.log /root/deep/x.txt\n"
        },
    )
    assert workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "mess").returncode == 0
    assert content(workshop.directory / "out.tar", "var/log/mess") == ""
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert "./tmp" in tar.getnames()
        names = set(tar.getnames())
    assert not {"./tmp/x", "./root/deep/x.log"} & names
    assert "./root/deep/x.txt" in names


def test_a_logfile_is_appended_to_and_silences_the_rest(workshop: Workshop) -> None:
    for _ in range(2):
        done = workshop.create("-n", "-t", "tar", "-o", "out", "--logfile", "log", "tiny")
        assert done.stdout == "Output logs going to: log\n"
    log = (workshop.directory / "log").read_text()
    assert log.count("Build completed successfully") == 2


def test_a_root_that_stays_empty_is_refused(workshop: Workshop) -> None:
    workshop.element("void", {"element-provides": "operating-system\n"})
    done = workshop.create("-n", "void")
    assert done.returncode == 1
    assert "Failed to deploy the root element." in done.stdout


def test_a_report_is_beside_the_image(workshop: Workshop) -> None:
    workshop.element("app", {"install.d/50-app": "touch /app\n"})
    assert workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "app").returncode == 0
    report = json.loads((workshop.directory / "out.d/report.json").read_text())
    assert [output["path"] for output in report["outputs"]] == ["out.tar"]
    assert "50-app" in (workshop.directory / "out.d/report.html").read_text()


def test_a_failed_conversion_leaves_no_manifests(workshop: Workshop) -> None:
    done = workshop.create("-n", "-o", "out", "--image-size", "0.01", "tiny", "manifests")
    assert done.returncode == 1
    assert {path.name for path in (workshop.directory / "out.d").iterdir()} == REPORTS

"""Layers of the later phases, and outputs that need not be made again."""

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
KNOWN = "cacheable: true\nvariables: {GREETING: {help: what it says}}\n"
LATE = {
    "element.yaml": KNOWN,
    "extra-data.d/50-late": "mknod $TMP_MOUNT_PATH/n c 1 3; echo data >$TMP_HOOKS_PATH/data\n",
    "pre-install.d/50-late": "rm -rf /usr/share; mkdir -p /opt/a; ln /etc/passwd /p\n",
    "install.d/50-late": "rm -r /opt/a; mkdir /opt/a; echo ${GREETING:-} >/opt/a/x\n",
    "post-install.d/50-late": "cat /tmp/in_target.d/data >/opt/data; echo root:x >>/p\n",
    "finalise.d/50-late": "rm /opt/a/x; chmod 700 /usr/bin/env\n",
}


def build(workshop: Workshop, *words: str, **variables: str) -> str:
    """The log of a build that has to succeed."""
    variables = {"OVERWRITE_OLD_IMAGE": "1", **variables}
    done = workshop.create("-n", "-t", "tar", "-o", "out", *words, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def ran(log: str) -> list[str]:
    """The phases in which a hook ran."""
    words = (line.partition("dib-run-parts Running ")[2] for line in log.splitlines())
    return list(dict.fromkeys(word.split(".d/")[0] for word in words if word))


def digest(workshop: Workshop) -> str:
    return hashlib.sha256((workshop.directory / "out.tar").read_bytes()).hexdigest()


def test_outputs_that_are_there_and_untouched_are_left(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    before = (workshop.directory / "out.tar").stat()
    log = build(workshop, "tiny", "late")
    assert "cache: outputs are up to date" in log
    assert ran(log) == []
    assert (workshop.directory / "out.tar").stat() == before


@pytest.mark.parametrize("name", ["out.tar", "out.tar.sha256", "out.d/report.json"])
def test_what_is_gone_is_put_back(workshop: Workshop, name: str) -> None:
    workshop.element("late", LATE)
    build(workshop, "--checksum", "tiny", "late")
    path = workshop.directory / name
    content = path.read_bytes()
    path.unlink()
    assert ran(build(workshop, "--checksum", "tiny", "late")) == []
    assert path.read_bytes() == content


def test_an_output_that_was_changed_is_made_again(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    first, path = digest(workshop), workshop.directory / "out.tar"
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"evil")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    log = build(workshop, "tiny", "late")
    assert "finalise taken from it" in log
    assert digest(workshop) == first


def test_a_copy_is_put_back_while_the_file_has_another_name(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    first, path = digest(workshop), workshop.directory / "out.tar"
    path.rename(workshop.directory / "mine.tar")
    assert "cache: outputs taken from it" in build(workshop, "tiny", "late")
    assert digest(workshop) == first
    assert path.stat().st_ino != (workshop.directory / "mine.tar").stat().st_ino


@pytest.mark.parametrize(
    ("phase", "again"),
    [
        ("finalise", ["finalise"]),
        ("post-install", ["post-install", "finalise"]),
        ("install", ["install", "post-install", "finalise"]),
        ("pre-install", ["pre-install", "install", "post-install", "finalise"]),
    ],
)
def test_a_changed_hook_takes_its_phase_and_the_later_ones_again(
    workshop: Workshop, phase: str, again: list[str]
) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    hook = f"{phase}.d/50-late"
    workshop.element("late", {hook: f"{LATE[hook]}touch /changed\n"})
    assert ran(build(workshop, "tiny", "late")) == ["extra-data", *again]
    layered = digest(workshop)
    cold = build(workshop, "tiny", "late", IMAGEBUILDER_NO_CACHE="1")
    assert ran(cold) == ["root", "extra-data", "pre-install", "install", "post-install", "finalise"]
    assert digest(workshop) == layered


def test_only_declared_variables_count_for_elements_that_are_known(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    assert ran(build(workshop, "tiny", "late", OTHER="x")) == []
    log = build(workshop, "tiny", "late", GREETING="hello")
    assert ran(log)[1:] == ["pre-install", "install", "post-install", "finalise"]


def test_an_element_that_promises_nothing_is_run_and_known_by_what_it_makes(
    workshop: Workshop,
) -> None:
    workshop.element("late", LATE)
    workshop.element("unknown", {"install.d/90-unknown": "echo same >/same\n"})
    build(workshop, "tiny", "late", "unknown")
    log = build(workshop, "tiny", "late", "unknown")
    assert ran(log) == ["extra-data", "install"]
    assert "cache: outputs are up to date" in log
    workshop.element("unknown", {"install.d/90-unknown": "date +%N >/same\n"})
    build(workshop, "tiny", "late", "unknown")
    assert "finalise" in ran(build(workshop, "tiny", "late", "unknown"))
    build(workshop, "--incremental", "tiny", "late", "unknown")
    assert ran(build(workshop, "--incremental", "tiny", "late", "unknown")) == []


@pytest.mark.parametrize(
    ("option", "again"),
    [
        ("--refresh", ["root", "extra-data", "pre-install", "install", "post-install", "finalise"]),
        ("--refresh=post-install", ["extra-data", "post-install", "finalise"]),
        ("--refresh=last", ["extra-data", "finalise"]),
    ],
)
def test_refresh_takes_steps_again(workshop: Workshop, option: str, again: list[str]) -> None:
    workshop.element("late", LATE)
    workshop.element("last", {"element.yaml": KNOWN, "finalise.d/99-last": "touch /last\n"})
    build(workshop, "tiny", "late", "last")
    assert ran(build(workshop, option, "tiny", "late", "last")) == again
    assert ran(build(workshop, "tiny", "late", "last")) == []


def test_refresh_of_what_is_not_there_is_refused(workshop: Workshop) -> None:
    done = workshop.create("-n", "-o", "out", "--refresh=instal", "tiny")
    assert done.returncode == 1
    assert "neither a phase nor an element of this build: 'instal'" in done.stdout
    assert "did you mean 'install'" in done.stdout


def test_what_is_mounted_in_the_tree_ends_the_use_of_layers(workshop: Workshop) -> None:
    mount = 'mkdir -p "$TMP_MOUNT_PATH/m"; mount -t tmpfs none "$TMP_MOUNT_PATH/m"\n'
    workshop.element(
        "mounts", {"extra-data.d/10-m": mount, "install.d/10-m": "grep ' /m ' /proc/self/mounts\n"}
    )
    for _ in range(2):
        log = build(workshop, "tiny", "mounts")
        assert "something is mounted in the tree" in log
        assert "install" in ran(log)


def test_a_build_killed_at_any_moment_leaves_a_cache_that_is_right(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late", IMAGEBUILDER_NO_CACHE="1")
    expected = digest(workshop)
    for number in range(12):
        with workshop.start("-n", "-t", "tar", "-o", "out", "tiny", "late") as program:
            time.sleep(0.3 + 0.12 * number)
            program.send_signal(signal.SIGKILL)
            program.communicate(timeout=60)
    build(workshop, "tiny", "late")
    assert digest(workshop) == expected
    verified = workshop.imagebuilder("cache", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert not list(Path(workshop.scratch).iterdir())


def test_layers_keep_what_overlays_and_trees_have(workshop: Workshop) -> None:
    workshop.element("late", LATE)
    build(workshop, "tiny", "late")
    workshop.element("late", {"finalise.d/50-late": "touch /changed\n"})
    build(workshop, "tiny", "late")
    listing = subprocess.run(
        ["tar", "-tvf", workshop.directory / "out.tar"], check=True, capture_output=True, text=True
    ).stdout
    assert "crw-r--r-- 0/0" in listing
    assert "opt/a/x" in listing
    assert "opt/data" in listing

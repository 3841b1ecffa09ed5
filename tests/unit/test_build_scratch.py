"""Where a build happens is said by options, variables and what memory there is; nothing stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagebuilder.build import scratch
from imagebuilder.build.scratch import in_memory
from imagebuilder.options import MEMORY, parse

SMALL = {"DIB_MIN_TMPFS": "0.001"}  # what any machine has


def chosen(*words: str, **variables: str) -> bool:
    return in_memory(parse((*words, "element"), {**SMALL, **variables}))


def test_a_build_is_in_memory_if_there_is_enough() -> None:
    assert chosen()
    assert not chosen(DIB_MIN_TMPFS="1000000")
    assert not chosen(DIB_MIN_TMPFS="1", **{MEMORY: "1GiB"})  # it takes twice as much


@pytest.mark.parametrize(
    "variables",
    [{"DIB_NO_TMPFS": "1"}, {"DIB_NO_TMPFS": "yes"}, {"GENTOO_PROFILE": "linux/amd64/hardened"}],
)
def test_a_build_is_on_disk_if_that_is_wanted(variables: dict[str, str]) -> None:
    assert not chosen(**variables)
    assert not chosen("--no-tmpfs")
    assert chosen(DIB_NO_TMPFS="0", GENTOO_PROFILE="default/linux/amd64")


def test_what_a_dead_build_has_left_goes_however_deep_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"{scratch.PREFIX}x"
    left.mkdir()
    monkeypatch.chdir(left)
    for _ in range(3000):
        Path("d").mkdir()
        os.chdir("d")
    monkeypatch.chdir(tmp_path)
    scratch.sweep(tmp_path)
    assert not left.exists()


def test_a_place_where_no_hook_can_be_started_is_refused(tmp_path: Path) -> None:
    scratch.check_execution(tmp_path)
    mounted = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o noexec x "$0" && exec "$@"']
    if subprocess.run([*mounted, tmp_path, "true"], check=False).returncode:
        pytest.skip("needs namespaces to mount a filesystem noexec in")
    look = "import pathlib, sys; from imagebuilder.build.scratch import check_execution as c; "
    words = [sys.executable, "-c", f"{look}c(pathlib.Path(sys.argv[1]))", str(tmp_path)]
    done = subprocess.run([*mounted, tmp_path, *words], capture_output=True, text=True, check=False)
    assert f"ConfigError: {tmp_path}: is mounted noexec" in done.stderr

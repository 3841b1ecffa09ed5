"""What builds are thought to need, and what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagebuilder.batch import room
from imagebuilder.batch.schedule import Grant
from imagebuilder.errors import SpaceError
from imagebuilder.options import Request
from imagebuilder.sizes import UNITS, Size

GIB = UNITS["GiB"]


def request(directory: Path, least: int = 2 * GIB, *, no_cache: bool = False) -> Request:
    return Request(
        image_cache=str(directory / "cache" / "images"),
        min_tmpfs=Size(least),
        no_cache=no_cache,
        environment={"TMPDIR": str(directory)},
    )


def test_a_job_needs_scratch_cache_and_outputs(tmp_path: Path) -> None:
    outputs = [tmp_path / "a.tar", tmp_path / "a.raw"]
    job = room.job("a", "", request(tmp_path), outputs)
    assert job.scratch.size == 4 * GIB
    assert [(each.purpose, each.size) for each in job.demands] == [
        ("an output", GIB), ("an output", GIB), ("the cache", GIB),
    ]  # fmt: skip
    assert {each.device for each in job.demands} == {tmp_path.stat().st_dev}


def test_a_directory_that_is_not_there_yet_is_on_the_disk_of_those_above(tmp_path: Path) -> None:
    job = room.job("a", "", request(tmp_path), [])
    assert [each.path for each in job.demands] == [str(tmp_path)]


def test_no_cache_needs_no_room_for_it(tmp_path: Path) -> None:
    assert room.job("a", "", request(tmp_path, no_cache=True), []).demands == ()


def test_what_will_never_fit_is_refused_with_a_remedy(tmp_path: Path) -> None:
    job = room.job("a", "", request(tmp_path, 2**60), [tmp_path / "a.raw"])
    with pytest.raises(SpaceError, match=r"(?s)it takes .* for an output .*lower --min-tmpfs"):
        room.check(job)


def test_what_fits_is_not_refused(tmp_path: Path) -> None:
    room.check(room.job("a", "", request(tmp_path, 1), [tmp_path / "a.raw"]))


def test_memory_that_a_build_was_promised_is_not_promised_again(tmp_path: Path) -> None:
    job = room.job("a", "", request(tmp_path), [])
    before = room.left([job], {})
    after = room.left([job], {os.getpid(): Grant(job=job, memory=100 * GIB)})
    assert after.memory < before.memory - 90 * GIB


def test_disk_that_a_build_was_promised_is_not_promised_again(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    job = room.job("a", "", request(tmp_path, 2**50), [])
    before = room.left([job], {}).disks[device]
    after = room.left([job], {os.getpid(): Grant(job=job, memory=0)}).disks[device]
    assert abs(before - after - 2**51 - 2**49) < 2**45


def test_a_build_that_has_ended_has_used_nothing(tmp_path: Path) -> None:
    job = room.job("a", "", request(tmp_path), [])
    gone = room.left([job], {2**22 + 1: Grant(job=job, memory=GIB)})
    assert abs(room.left([job], {}).memory - GIB - gone.memory) < GIB

"""Which image is begun next: within slots, memory and disks, one of each root tree first."""

from __future__ import annotations

import pytest

from imagebuilder.batch.schedule import Demand, Grant, Job, Room, choose, grant, shortage
from imagebuilder.sizes import UNITS

GIB = UNITS["GiB"]
HOME, TEMPORARY = 1, 2  # devices


def job(group: str = "", *, scratch: int = 4, output: int = 1, memory: bool = True) -> Job:
    """A job that takes GiB."""
    return Job(
        name="a",
        group=group,
        scratch=Demand(device=TEMPORARY, path="/tmp", size=scratch * GIB, purpose="scratch"),
        demands=(Demand(device=HOME, path="/home", size=output * GIB, purpose="an output"),),
        may_use_memory=memory,
    )


def room(memory: int = 100, home: int = 100, temporary: int = 100) -> Room:
    return Room(memory=memory * GIB, disks={HOME: home * GIB, TEMPORARY: temporary * GIB})


@pytest.mark.parametrize(
    ("waiting", "being_made", "left", "slots", "chosen"),
    [
        ([], "", room(), 1, -1),
        ([job()], "", room(), 0, -1),
        ([job()], "", room(), 1, 0),
        ([job(), job()], "", room(), 2, 0),
        ([job("r"), job("s")], "r", room(), 1, 1),
        ([job("r"), job("r")], "r", room(), 1, -1),
        ([job("r"), job()], "r", room(), 1, 1),
        ([job(output=5), job()], "", room(home=4), 1, 1),
        ([job(output=5)], "", room(home=4), 1, -1),
        ([job(output=4)], "", room(home=4), 1, 0),
        ([job()], "", room(memory=3, temporary=3), 1, -1),
        ([job()], "", room(memory=3, temporary=4), 1, 0),
        ([job()], "", room(memory=4, temporary=0), 1, 0),
        ([job(memory=False)], "", room(temporary=3), 1, -1),
        ([job(scratch=8), job()], "", room(memory=5, temporary=5), 2, 1),
    ],
)
def test_the_first_that_can_be_begun_is_chosen(
    waiting: list[Job], being_made: str, left: Room, slots: int, chosen: int
) -> None:
    assert choose(waiting, frozenset(filter(None, [being_made])), left, slots) == chosen


@pytest.mark.parametrize(
    ("wanted", "left", "shares", "gets"),
    [
        (job(), room(memory=20), 1, 20),  # alone it gets everything
        (job(), room(memory=20), 2, 10),
        (job(), room(memory=20), 0, 20),
        (job(), room(memory=6), 2, 4),  # what it needs is more than its share
        (job(), room(memory=3), 1, 0),  # on disk
        (job(), room(memory=-1), 1, 0),
        (job(memory=False), room(memory=20), 1, 0),
    ],
)
def test_memory_is_shared_and_a_disk_takes_its_place(
    wanted: Job, left: Room, shares: int, gets: int
) -> None:
    granted = grant(wanted, left, shares)
    assert granted
    assert granted.memory == gets * GIB


def test_scratch_and_outputs_on_one_disk_add_up() -> None:
    here = Demand(device=HOME, path="/home", size=4 * GIB, purpose="scratch")
    wanted = Job(name="a", group="", scratch=here, demands=job().demands, may_use_memory=False)
    assert grant(wanted, room(home=5), 1)
    assert not grant(wanted, room(home=4), 1)


def test_a_build_in_memory_takes_nothing_of_the_scratch_disk() -> None:
    in_memory, on_disk = Grant(job=job(), memory=4 * GIB), Grant(job=job(), memory=0)
    left = room(home=10, temporary=10).without([in_memory, on_disk])
    assert left.disks == {HOME: 8 * GIB, TEMPORARY: 6 * GIB}
    assert left.memory == 100 * GIB


@pytest.mark.parametrize(
    ("wanted", "left", "expected"),
    [
        (job(), room(), ""),
        (job(), room(memory=4, temporary=0), ""),
        (job(), room(memory=0, temporary=4), ""),
        (job(), room(home=0), "1 GiB for an output on the disk of /home, where 0 B is free"),
        (
            job(),
            room(memory=3, temporary=2),
            "4 GiB of memory, where 3 GiB is free, or"
            " 4 GiB for scratch on the disk of /tmp, where 2 GiB is free",
        ),
        (
            job(memory=False),
            room(temporary=-1),
            "4 GiB for scratch on the disk of /tmp, where 0 B is free",
        ),
    ],
)
def test_what_is_too_little_is_said(wanted: Job, left: Room, expected: str) -> None:
    assert shortage(wanted, left) == expected


def test_a_job_is_refused_exactly_when_it_can_get_nothing() -> None:
    for memory in range(6):
        for home in range(3):
            for temporary in range(6):
                left = room(memory, home, temporary)
                assert bool(shortage(job(), left)) == (grant(job(), left, 1) is None)

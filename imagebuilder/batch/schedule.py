"""Decides which image is begun next, within the limits of slots, memory and disks.

What others have been promised is gone, whether they have used it yet or not. So no build is begun
in the hope that another one needs less than it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from imagebuilder.sizes import Size


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Demand:
    """Room that a build takes on a disk, which is known by its device number."""

    device: int
    path: str
    size: int
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A build: `scratch` is what it takes in memory, or else on a disk; `group` its root tree."""

    name: str
    group: str
    scratch: Demand
    demands: tuple[Demand, ...] = ()
    may_use_memory: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a build that is begun may take: bytes of memory, or 0 if its scratch is on disk."""

    job: Job
    memory: int

    @property
    def demands(self) -> tuple[Demand, ...]:
        """What it takes of disks."""
        return _on_disks(self.job, in_memory=bool(self.memory))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is there: bytes of memory that nobody was promised, and bytes on each device."""

    memory: int
    disks: Mapping[int, int] = field(default_factory=dict)

    def without(self, grants: Iterable[Grant]) -> Room:
        """What is left on the disks when all these take what they may."""
        disks = dict(self.disks)
        for demand in (demand for grant in grants for demand in grant.demands):
            disks[demand.device] = disks.get(demand.device, 0) - demand.size
        return Room(memory=self.memory, disks=disks)


def choose(waiting: Sequence[Job], being_made: frozenset[str], room: Room, slots: int) -> int:
    """The position of the first job that can be begun; -1 if none can.

    A job waits while another one makes the root tree that both begin with (`being_made`).
    """
    for position, job in enumerate(waiting):
        if slots and job.group not in being_made and grant(job, room, 1) is not None:
            return position
    return -1


def grant(job: Job, room: Room, shares: int) -> Grant | None:
    """What the job gets of what is left, which `shares` jobs are to have; None if it is too little.

    It gets memory if what is left is enough for it, else it is built on disk.
    """
    if job.may_use_memory and room.memory >= job.scratch.size and not _lacking(job.demands, room):
        return Grant(job=job, memory=max(job.scratch.size, room.memory // max(shares, 1)))
    if not _lacking(_on_disks(job, in_memory=False), room):
        return Grant(job=job, memory=0)
    return None


def shortage(job: Job, room: Room) -> str:
    """What is too little for the job, even if nothing else is built; empty if nothing is."""
    if grant(job, room, 1):
        return ""
    lines = _lacking(job.demands, room)
    if lines:
        return "; ".join(lines)
    lines = _lacking(_on_disks(job, in_memory=False), room)
    free = Size(max(room.memory, 0))
    memory = [f"{Size(job.scratch.size)} of memory, where {free} is free"] * job.may_use_memory
    return ", or ".join((*memory, "; ".join(lines)))


def _on_disks(job: Job, *, in_memory: bool) -> tuple[Demand, ...]:
    return job.demands if in_memory else (*job.demands, job.scratch)


def _lacking(demands: Iterable[Demand], room: Room) -> list[str]:
    """The disks that have too little room, and for what."""
    lines = []
    for device, each in groupby(sorted(demands), key=lambda demand: demand.device):
        wanted, free = list(each), room.disks.get(device, 0)
        if sum(demand.size for demand in wanted) > free:
            parts = " and ".join(f"{Size(d.size)} for {d.purpose}" for d in wanted)
            there = Size(max(free, 0))
            lines.append(f"{parts} on the disk of {wanted[0].path}, where {there} is free")
    return lines

"""How much room builds need, and how much there is.

Nobody knows beforehand how large a tree will become. `--min-tmpfs` says how large one may be: a
build has twice that for its tree and the disk that is made of it, half of it for the layers that
it leaves in the cache, and half of it for each output.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagebuilder.batch.schedule import Demand, Grant, Job, Room, shortage
from imagebuilder.build.scratch import PREFIX, available_memory, base_of
from imagebuilder.errors import SpaceError
from imagebuilder.options import Request, cache_directory


def job(name: str, group: str, request: Request, outputs: Sequence[Path]) -> Job:
    """What a build takes."""
    size = int(request.min_tmpfs)
    parents = [output.parent for output in outputs]
    demands = [_demand(parent, size // 2, "an output") for parent in parents]
    if not request.no_cache:
        demands.append(_demand(cache_directory(request), size // 2, "the cache"))
    return Job(
        name=name,
        group=group,
        scratch=_demand(base_of(request), 2 * size, "the scratch directory"),
        demands=tuple(demands),
        may_use_memory=not request.no_tmpfs,
    )


def check(job: Job) -> None:
    """Raise SpaceError if there is no room for the job, even if nothing else is built."""
    lacking = shortage(job, left([job], {}))
    if lacking:
        raise SpaceError(
            f"not room enough: it takes {lacking}",
            hint="make room, name other places (-o, TMPDIR, --image-cache), or set a lower"
            " --min-tmpfs if the image is small",
        )


def left(jobs: Iterable[Job], running: dict[int, Grant]) -> Room:
    """What nobody has been promised; `running` are the grants of builds by process id."""
    places = {demand.device: demand.path for job in jobs for demand in (*job.demands, job.scratch)}
    promised = sum(max(0, grant.memory - _used(pid)) for pid, grant in running.items())
    disks = {device: _free(Path(path)) for device, path in places.items()}
    room = Room(memory=available_memory() - promised, disks=disks)
    return room.without(running.values())


def _demand(directory: Path, size: int, purpose: str) -> Demand:
    there = _existing(directory)
    return Demand(device=there.stat().st_dev, path=str(there), size=size, purpose=purpose)


def _existing(directory: Path) -> Path:
    """The directory, or the nearest one above it that is there."""
    absolute = directory.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.is_dir())


def _free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _used(pid: int) -> int:
    """Bytes in a build's scratch directory, if that is in memory (`proc_pid_mountinfo(5)`)."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        points = [line.split()[4] for line in lines if f"/{PREFIX}" in line]
        tops = [point for point in points if Path(point).name.startswith(PREFIX)]
        found = [os.statvfs(f"/proc/{pid}/root{point}") for point in tops]
    except OSError:
        return 0
    return sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in found)

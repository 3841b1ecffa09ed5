"""A copy of an ISO image written: in place where all fits, by xorriso where it does not.

Most edits leave everything where it is: a menu, an answer, a list of checksums. The image is then
copied as it is, and only what changes is written over. Everything else takes xorriso, which lays
the image out anew and sets up how it starts from what the original has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.formats import sparse
from imagebuilder.iso import checksums, esp, inplace, roles, tree, xorriso
from imagebuilder.iso.inplace import News, Wanted, Write
from imagebuilder.iso.model import BLOCK, Iso
from imagebuilder.iso.probe import probe
from imagebuilder.iso.xorriso import Copy
from imagebuilder.process import Command, Runner
from imagebuilder.remaster import iso_lists, iso_plan, iso_proof
from imagebuilder.remaster.iso_job import Job


def implanted(iso: Iso) -> bool:
    """Whether the image has a checksum of itself, as checkisomd5 reads it."""
    return checksums.IMPLANTED in iso.volume.application_use


def write(path: Path, job: Job, run: Runner) -> None:
    """Write the copy, with true checksums of boot files that change; raise BuildError if it is
    not what it should be.
    """
    if job.plan.esp:
        esp.write(job.partition, job.plan.esp, job.changes.epoch, run)
    try:
        writes = _in_place(job)
    except ValueError:
        run(xorriso.copy(_copy(path, job, "puts")))
    else:
        _edited(path, job.files.iso, writes)
    job = _with_lists(path, job, run)
    iso_proof.check(path, job, run)
    if implanted(job.files.iso):
        run(Command(("implantisomd5", "--force", os.fspath(path))))


def _in_place(job: Job) -> list[Write]:
    """What has to be written over in a copy of the original; raise ValueError if that won't do."""
    plan, nodes, iso = job.plan, job.files.nodes, job.files.iso
    if plan.removals or not plan.touched <= {*nodes}:
        raise ValueError("the tree of files changes")
    files: dict[str, bytes | Path] = {**plan.contents, **plan.files}
    files |= {put.path: put.source for put in job.partition_file()}
    wanted = Wanted(
        files={p: News(content=c, mode=nodes[p].mode & 0o777) for p, c in files.items()},
        volume_id=job.changes.volume_id if job.changes.volume_id != iso.volume.id else "",
        outside=dict(_outside(job)),
        epoch=job.changes.epoch,
    )
    return inplace.writes(job.files, wanted)


def _outside(job: Job) -> Iterator[tuple[int, Path]]:
    """The new EFI system partition where it is no file, and where it goes."""
    size = job.partition.stat().st_size if job.is_outside or job.twins else 0
    if job.is_outside:
        place = roles.esp_place(job.files.iso, job.files)
        if place is None or place[1] != size:
            raise ValueError("the EFI system partition has another size")
        yield place[0], job.partition
    for part in job.twins:
        if part.count * BLOCK < size:
            raise ValueError("a copy of the EFI system partition has another size")
        yield part.start * BLOCK, job.partition


def _edited(path: Path, iso: Iso, writes: Iterable[Write]) -> None:
    """A copy of an image, with something else written over it here and there."""
    with iso.path.open("rb") as source, path.open("r+b") as target:
        sparse.copy(source.fileno(), target.fileno())
    _overwrite(path, writes)


def _overwrite(path: Path, writes: Iterable[Write]) -> None:
    with path.open("r+b") as image:
        for each in writes:
            image.seek(each.place)
            if isinstance(each.content, Path):
                with each.content.open("rb") as file:
                    shutil.copyfileobj(file, image, 2**20)
            else:
                image.write(each.content)
            image.write(bytes(max(0, each.place + each.room - image.tell())))


def _with_lists(path: Path, job: Job, run: Runner) -> Job:
    """Make lists of checksums true of boot files as they are in the copy; the plan with those."""
    if not checksums.LISTS.keys() & job.files.nodes.keys():
        return job
    made, before = tree.load(probe(path)), job.plan.contents
    lists = iso_lists.updated(job.files, job.plan.news, made)
    changed = {name: text for name, text in lists.items() if text != before.get(name)}
    if not changed:
        return job
    job = replace(job, plan=iso_plan.with_lists(job.files, job.plan, changed))
    other = {name: text for name, text in job.plan.contents.items() if text != before.get(name)}
    news = {name: News(content=other[name], mode=made.nodes[name].mode & 0o777) for name in other}
    try:
        _overwrite(path, inplace.writes(made, Wanted(files=news, epoch=job.changes.epoch)))
    except ValueError:
        os.truncate(path, 0)
        run(xorriso.copy(_copy(path, job, "again")))
    return job


def _copy(path: Path, job: Job, puts: str) -> Copy:
    """What xorriso has to do; `puts` is the name of a directory for files."""
    return Copy(
        iso=job.files.iso,
        target=path,
        epoch=job.changes.epoch,
        puts=job.puts(job.work / puts),
        directories=job.plan.directories,
        removals=job.plan.removals,
        volume_id=job.changes.volume_id,
        esp=_appended(job),
    )


def _appended(job: Job) -> tuple[int, str, Path] | None:
    """The new partition behind the volume, with its number and its type."""
    iso = job.files.iso
    if not job.is_outside:
        return next(((part.number, part.type, job.partition) for part in job.twins), None)
    start = iso.uefi.start if iso.uefi else 0
    for part in reversed(iso.partitions):
        if part.start * BLOCK == start:
            return part.number, part.type, job.partition
    raise ConfigError(
        "its EFI system partition is in no partition table, and cannot be replaced",
        where=str(iso.path),
    )

"""An installer's ISO image copied with changes, and the copy proven to boot as the original does.

The boot set-up is replayed by xorriso and compared; what changed is read back from the copy; lists
of checksums are kept true. The source is only read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import BuildError, ConfigError, SpaceError
from imagebuilder.iso import checksums, esp, pe, roles, tree, xorriso
from imagebuilder.iso.model import BLOCK, Iso, Node
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.iso.xorriso import Copy, Put
from imagebuilder.process import Command, Runner, find, missing
from imagebuilder.remaster import inner, iso_lists, iso_plan, output
from imagebuilder.remaster.iso_plan import IsoChanges, Plan
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.problems import Problems
from imagebuilder.sizes import Size

LONGEST_ID = 32
PARTITION = "esp.img"
STRONG = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One copy to be made. `work` is a directory for files, `before` the original's set-up."""

    files: Tree
    plan: Plan
    changes: IsoChanges
    work: Path
    before: list[str]

    @property
    def partition(self) -> Path:
        """The copy of the EFI system partition."""
        return self.work / PARTITION


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A copy that is all worked out: what writes it, how many bytes it takes, remarks on it."""

    write: Callable[[Path], None]
    needed: int
    remarks: list[str]


def remaster(
    source: Path, target: Target, changes: IsoChanges, run: Runner = process.run
) -> list[str]:
    """Write a copy of the image at `source` with the changes; return remarks about it.

    Raise ConfigError for an image or a change that cannot be, ToolMissingError without xorriso or
    mtools, BuildError if the copy would not boot as the original does. Nothing is left then.
    """
    problems = Problems()
    with problems.noted():
        output.check(source, target)
    with copied(source, changes, run, problems, target) as copy:
        output.made(target, copy.write, copy.needed)
    return copy.remarks


def planned(
    source: Path, target: Target, changes: IsoChanges, run: Runner = process.run
) -> list[str]:
    """What `remaster` would do; raise what it would raise, and write nothing."""
    problems = Problems()
    with problems.noted():
        output.check(source, target)
    with copied(source, changes, run, problems, target) as copy:
        return [*copy.remarks, f"up to {Size(copy.needed)} ({copy.needed} bytes)"]


@contextmanager
def copied(
    source: Path,
    changes: IsoChanges,
    run: Runner,
    problems: Problems,
    target: Target | None = None,
) -> Generator[Prepared, None, None]:
    """A copy of the image at `source`, about to be written; raise as `remaster` does."""
    iso = probe(source)
    _check(iso, changes, problems)
    files = tree.load(iso)
    needed = iso.size + _added(changes)
    if target:
        with problems.noted():
            check_room(target.path.parent, needed, str(target.path))
    with tempfile.TemporaryDirectory(prefix="imagebuilder-iso-") as name:
        work = Path(name)
        if changes.squashfs:
            with problems.noted():
                room = sum(2 * files.find(p).size for p in changes.squashfs if p in files)
                check_room(work, room, "scratch files")
        partition = _partition(iso, files, work) if iso.uefi and find("mdir") else None
        plan = iso_plan.make(files, partition, changes, run, problems)
        problems.check()
        plan = iso_plan.completed(files, plan)
        before = xorriso.set_up(run(xorriso.report(source)).output)
        job = Job(files=files, plan=plan, changes=changes, work=work, before=before)
        yield Prepared(
            write=lambda path: _write(path, _packed(job), run),
            needed=needed,
            remarks=[
                *_remarks(iso, plan),
                *_unsigned(files, plan),
                *inner.hidden(files, plan.squashfs),
            ],
        )


def _packed(job: Job) -> Job:
    """The same, with all squashfs images that change packed."""
    if not job.plan.squashfs:
        return job
    made = inner.packed(job.files, job.plan.squashfs, job.work)
    return replace(job, plan=iso_plan.completed(job.files, job.plan, made))


def check_source(iso: Iso) -> None:
    """Raise ConfigError for an image of which no copy can be made, or that nothing starts."""
    _check_boots(iso, IsoChanges())
    _check_grown(iso, IsoChanges())


def _check(iso: Iso, changes: IsoChanges, problems: Problems) -> None:
    for check in (_check_boots, _check_grown, _check_sum, _check_volume_id):
        with problems.noted():
            check(iso, changes)
    for tool in _tools(iso, changes):
        if not find(tool):
            problems.found.append(missing(tool))


def _tools(iso: Iso, changes: IsoChanges) -> Iterator[str]:
    yield "xorriso"
    yield from ("mdir", "mcopy") if iso.uefi else ()
    yield from ("implantisomd5",) if implanted(iso) else ()
    yield from ("sqfs2tar", "tar2sqfs") if changes.squashfs else ()


def _check_boots(iso: Iso, changes: IsoChanges) -> None:
    if not iso.bootable and not changes.unbootable:
        hint = "--allow-unbootable copies it all the same"
        what = "has no boot record (no El Torito, no MBR code)"
        raise ConfigError(what, where=str(iso.path), hint=hint)


def _check_grown(iso: Iso, _: IsoChanges) -> None:
    if iso.grown:
        last = max(part.end for part in iso.partitions)
        raise ConfigError(
            f"was modified in place before (partitions end at byte {last}, "
            f"the volume at {iso.volume.blocks * 2048})",
            where=str(iso.path),
            hint="start from the original image",
        )


def _check_sum(iso: Iso, changes: IsoChanges) -> None:
    if not changes.sha256:
        return
    found = checksums.of_file(STRONG, iso.path)
    if found != changes.sha256.lower():
        what = f"is another image: its SHA-256 is {found}, not {changes.sha256.lower()}"
        raise ConfigError(what, where=str(iso.path), hint="download it again")


def _check_volume_id(iso: Iso, changes: IsoChanges) -> None:
    if len(changes.volume_id) > LONGEST_ID:
        what = f"a volume id has at most {LONGEST_ID} characters: {changes.volume_id!r}"
        raise ConfigError(what, where=str(iso.path))


def implanted(iso: Iso) -> bool:
    """Whether the image has a checksum of itself, as checkisomd5 reads it."""
    return checksums.IMPLANTED in iso.volume.application_use


def _partition(iso: Iso, files: Tree, work: Path) -> Path | None:
    """A copy of the EFI system partition, if there is one."""
    place = roles.esp_place(iso, files)
    if place is None:
        return None
    copied = work / PARTITION
    with iso.path.open("rb") as source, copied.open("wb") as target:
        source.seek(place[0])
        left = place[1]
        while left and (piece := source.read(min(left, 2**20))):
            target.write(piece)
            left -= len(piece)
    return copied


def _write(path: Path, job: Job, run: Runner) -> None:
    """Write the copy, with true checksums of boot files that change with their place; check it."""
    wanted = _copy(path, job, run)
    run(xorriso.copy(wanted))
    made, contents = _reread(path), job.plan.contents
    lists = iso_lists.updated(job.files, job.plan.news, made)
    other = {name: text for name, text in lists.items() if text != contents.get(name)}
    job = replace(job, plan=replace(job.plan, contents={**contents, **other}))
    if all(len(text) == len(contents.get(name, b"")) for name, text in other.items()):
        _overwrite(path, made, other)
    else:
        os.truncate(path, 0)
        again = replace(wanted, puts=(*_puts(job, job.work / "again"), *_partition_file(job)))
        run(xorriso.copy(again))
    _check_copy(path, job, run)
    if implanted(job.files.iso):
        run(Command(("implantisomd5", "--force", os.fspath(path))))


def _overwrite(path: Path, made: Tree, contents: Mapping[str, bytes]) -> None:
    """Give files of the copy other contents of the same length, where they are."""
    with path.open("r+b") as image:
        for name, text in contents.items():
            done = 0
            for start, length in made.file(name).extents:
                image.seek(start)
                image.write(text[done : done + length])
                done += length


def _reread(path: Path) -> Tree:
    return tree.load(probe(path))


def _copy(path: Path, job: Job, run: Runner) -> Copy:
    if job.plan.esp:
        esp.write(job.partition, job.plan.esp, job.changes.epoch, run)
    uefi = job.files.iso.uefi
    outside = bool(job.plan.esp) and uefi and not roles.boot_file(job.files, uefi)
    return Copy(
        iso=job.files.iso,
        target=path,
        epoch=job.changes.epoch,
        puts=(*_puts(job, job.work / "puts"), *_partition_file(job)),
        directories=job.plan.directories,
        removals=job.plan.removals,
        volume_id=job.changes.volume_id,
        esp=_appended(job.files.iso, job.partition) if outside else None,
    )


def _partition_file(job: Job) -> tuple[Put, ...]:
    """The new EFI system partition, where it is a file of the image."""
    uefi = job.files.iso.uefi
    node = roles.boot_file(job.files, uefi) if uefi and job.plan.esp else None
    if node is None:
        return ()
    mode = node.mode & 0o777
    return (Put(source=job.partition, path=node.path, mode=mode, mtime=job.changes.epoch),)


def _puts(job: Job, place: Path) -> tuple[Put, ...]:
    place.mkdir()
    nodes, epoch = job.files.nodes, job.changes.epoch
    puts = [
        Put(source=source, path=path, mode=_mode(nodes.get(path), source), mtime=epoch)
        for path, source in job.plan.files.items()
    ]
    for index, (path, content) in enumerate(sorted(job.plan.contents.items())):
        (place / str(index)).write_bytes(content)
        mode = nodes[path].mode & 0o777 if path in nodes else 0o444
        puts.append(Put(source=place / str(index), path=path, mode=mode, mtime=epoch))
    return tuple(puts)


def _mode(there: Node | None, source: Path) -> int:
    """An older file's mode; for a new one readable by all, and a program if it is one."""
    return there.mode & 0o777 if there else 0o444 | source.stat().st_mode & 0o111


def _appended(iso: Iso, partition: Path) -> tuple[int, str, Path]:
    """The number and the type of the partition behind the volume that UEFI starts from."""
    start = iso.uefi.start if iso.uefi else 0
    for part in reversed(iso.partitions):
        if part.start * BLOCK == start:
            return part.number, part.type, partition
    raise ConfigError(
        "its EFI system partition is in no partition table, and cannot be replaced",
        where=str(iso.path),
    )


def _check_copy(path: Path, job: Job, run: Runner) -> None:
    """Raise BuildError unless the copy boots as the original does, and holds what it should."""
    where, plan, old = str(job.files.iso.path), job.plan, job.files.nodes
    after = xorriso.set_up(run(xorriso.report(path)).output)
    if different := xorriso.differences(job.before, after):
        what = "\n".join(("the copy would not boot as the original does", *different))
        raise BuildError(what, where=where)
    made = _reread(path)
    gone = {node.path for removed in plan.removals for node in job.files.below(removed)}
    own = {*plan.touched, *plan.directories, *(put.path for put in _partition_file(job))}
    wrong = [name for name, content in plan.contents.items() if made.read(name) != content]
    wrong += [
        path
        for path, source in plan.files.items()
        if checksums.digest(STRONG, made.pieces(made.file(path)))
        != checksums.of_file(STRONG, source)
    ]
    wrong += sorted(({*old} - gone | own) ^ {*made.nodes})
    wrong += [
        p for p in sorted({*old} & {*made.nodes} - own) if _facts(made.nodes[p]) != _facts(old[p])
    ]
    if wrong:
        what = f"the copy does not hold what it should: {', '.join(wrong[:3])}"
        raise BuildError(what, where=where)


def _facts(node: Node) -> tuple[object, ...]:
    """What has to be the same of a file that was not changed."""
    return (node.mode, node.uid, node.gid, node.mtime, node.size, node.target, node.rdev)


def _added(changes: IsoChanges) -> int:
    """The bytes of all files that are to be added."""
    sources = [wish.source for wish in changes.add]
    files = [file for source in sources for file in (source, *source.rglob("*"))]
    files += changes.tree.rglob("*") if changes.tree else ()
    return sum(file.stat().st_size for file in files if file.is_file())


def check_room(directory: Path, needed: int, where: str) -> None:
    """Raise SpaceError if there are not so many bytes free."""
    free = shutil.disk_usage(directory).free if directory.is_dir() else needed
    if free < needed:
        raise SpaceError(f"no space for it: {Size(needed)} needed, {Size(free)} free", where=where)


def _unsigned(files: Tree, plan: Plan) -> Iterator[str]:
    """What Secure Boot would start on the original, and refuse on the copy."""
    for path, source in plan.files.items():
        node = files.nodes.get(path)
        if node is None or not node.is_file:
            continue
        old = pe.is_signed(next(files.pieces(node), b"")[: pe.HEAD])
        with source.open("rb") as file:
            new = pe.is_signed(file.read(pe.HEAD))
        if old and not new:
            yield f"{path} was signed and is not any more: Secure Boot will refuse it"


def _remarks(iso: Iso, plan: Plan) -> list[str]:
    found = [] if iso.rock_ridge else ["the image has no Rock Ridge: its names are upper-case"]
    found += [f"changed: {path}" for path in sorted(plan.contents)]
    found += [f"added: {path}" for path in sorted(plan.files)]
    found += [f"removed: {path}" for path in plan.removals]
    found += [f"packed again: {path}" for path in sorted(plan.squashfs)]
    return found + [f"changed in the EFI system partition: {path}" for path in sorted(plan.esp)]

"""An installer's ISO image copied with changes, and the copy proven to boot as the original does.

The boot set-up is replayed by xorriso and compared; what changed is read back from the copy; lists
of checksums are kept true. The source is only read.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import ConfigError, SpaceError
from imagebuilder.initrd.source import Wish, measure
from imagebuilder.iso import checksums, esp, pe, roles, tree, xorriso
from imagebuilder.iso.model import BLOCK, Iso, Partition
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.process import Runner, find, missing
from imagebuilder.remaster import inner, iso_plan, iso_write, output
from imagebuilder.remaster.iso_job import PARTITION, Job
from imagebuilder.remaster.iso_plan import IsoChanges, Plan
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.problems import Problems
from imagebuilder.sizes import Size

LONGEST_ID = 32
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset("\"'`$\\")
STRONG = "sha256"
DIGEST = re.compile(r"[0-9A-Fa-f]{64}")


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
        partition = None
        with problems.noted():
            check_room(work, _scratch(iso, files, changes), f"scratch files in {work.parent}")
            partition = _partition(iso, files, work) if iso.uefi and find("mdir") else None
        plan = iso_plan.make(files, partition, changes, run, problems)
        problems.check()
        plan = iso_plan.completed(files, plan)
        before = xorriso.set_up(run(xorriso.report(source)).output)
        twins, others = _esps(iso, partition if plan.esp else None)
        job = Job(files=files, plan=plan, changes=changes, work=work, before=before, twins=twins)
        yield Prepared(
            write=lambda path: iso_write.write(path, _packed(job), run),
            needed=needed,
            remarks=[
                *_remarks(files, plan),
                *others,
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


def _scratch(iso: Iso, files: Tree, changes: IsoChanges) -> int:
    """The bytes of what is unpacked on the way: an EFI system partition, squashfs images."""
    place = roles.esp_place(iso, files) if iso.uefi else None
    images = (files.find(path).size for path in changes.squashfs if path in files)
    return (place[1] if place else 0) + sum(2 * size for size in images) + _inside(changes)


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
    yield from ("implantisomd5",) if iso_write.implanted(iso) else ()
    yield from ("sqfs2tar", "tar2sqfs") if changes.squashfs else ()


def _check_boots(iso: Iso, changes: IsoChanges) -> None:
    if not iso.bootable and not changes.unbootable:
        hint = "'imagebuilder iso remaster --allow-unbootable' copies it all the same"
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
    if not DIGEST.fullmatch(changes.sha256):
        what = f"no SHA-256 checksum: {changes.sha256!r}"
        raise ConfigError(what, where="--sha256", hint="64 hexadecimal digits")
    found = checksums.of_file(STRONG, iso.path)
    if found != changes.sha256.lower():
        what = f"is another image: its SHA-256 is {found}, not {changes.sha256.lower()}"
        raise ConfigError(what, where=str(iso.path), hint="download it again")


def _check_volume_id(iso: Iso, changes: IsoChanges) -> None:
    check_volume_id(changes.volume_id, str(iso.path))


def check_volume_id(volume_id: str, where: str) -> None:
    """Raise ConfigError for one that a descriptor has no room for, or that menus cannot name."""
    if len(volume_id) > LONGEST_ID:
        what = f"a volume id has at most {LONGEST_ID} characters: {volume_id!r}"
        raise ConfigError(what, where=where)
    if odd := [each for each in volume_id if each not in PLAIN]:
        hint = "letters and digits of ASCII, spaces, and signs other than quotes, $ and \\"
        raise ConfigError(f"a volume id has no {odd[0]!r}: {volume_id!r}", where=where, hint=hint)


def _partition(iso: Iso, files: Tree, work: Path) -> Path | None:
    """A copy of the EFI system partition, if there is one."""
    place = roles.esp_place(iso, files)
    if place is None:
        return None
    copied = work / PARTITION
    with copied.open("wb") as target:
        target.writelines(esp.pieces(iso.path, *place))
    return copied


def _esps(iso: Iso, partition: Path | None) -> tuple[tuple[Partition, ...], list[str]]:
    """The partitions that are copies of the EFI system partition, and remarks on others.

    Debian has it as a file for a CD, and once more as a partition for a disk.
    """
    if partition is None:
        return (), []
    size, digest = partition.stat().st_size, checksums.of_file(STRONG, partition)
    twins, others = [], []
    for part in roles.other_esps(iso):
        content = esp.pieces(iso.path, part.start * BLOCK, size)
        if part.count * BLOCK >= size and checksums.digest(STRONG, content) == digest:
            twins.append(part)
        else:
            others.append(
                f"{part.table} partition {part.number} is another EFI system partition, "
                "whose menus stay as they are"
            )
    return tuple(twins), others


def _added(changes: IsoChanges) -> int:
    """The bytes of all files that are to be added."""
    tree = (Wish(source=changes.tree, path="/"),) if changes.tree else ()
    return measure((*changes.add, *tree)) + _inside(changes)


def _inside(changes: IsoChanges) -> int:
    """The bytes of all files that are to be added to squashfs images."""
    return sum(measure(edit.add) for edit in changes.squashfs.values())


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


def _remarks(files: Tree, plan: Plan) -> list[str]:
    iso = files.iso
    names = "Joliet's, without owners and permissions" if iso.joliet else "upper-case"
    found = [] if iso.rock_ridge else [f"the image has no Rock Ridge: its names are {names}"]
    if iso.cut:
        found.append(
            f"the image lacks {iso.cut} bytes of padding at its end; the copy has it again"
        )
    touched = sorted(plan.touched)
    found += [f"changed: {path}" for path in touched if path in files.nodes]
    found += [f"added: {path}" for path in touched if path not in files.nodes]
    found += [f"removed: {path}" for path in plan.removals]
    found += [f"packed again: {path}" for path in sorted(plan.squashfs)]
    return found + [f"changed in the EFI system partition: {path}" for path in sorted(plan.esp)]

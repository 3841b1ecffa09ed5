"""Whether a copy of an ISO image boots as the original does, and holds what it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagebuilder.errors import BuildError
from imagebuilder.iso import checksums, esp, tree, xorriso
from imagebuilder.iso.model import BLOCK, Node
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.process import Runner
from imagebuilder.remaster.iso_job import Job

STRONG = "sha256"


def check(path: Path, job: Job, run: Runner) -> None:
    """Raise BuildError unless the copy boots as the original does, and holds what it should."""
    where, plan, old = str(job.files.iso.path), job.plan, job.files.nodes
    after = xorriso.set_up(run(xorriso.report(path)).output)
    if different := xorriso.differences(job.before, after):
        what = "\n".join(("the copy would not boot as the original does", *different))
        raise BuildError(what, where=where)
    made = tree.load(probe(path))
    gone = {node.path for removed in plan.removals for node in job.files.below(removed)}
    files = {**plan.files, **{put.path: put.source for put in job.partition_file()}}
    own = {*plan.touched, *plan.directories, *files}
    wrong = [name for name, content in plan.contents.items() if made.read(name) != content]
    wrong += [
        path
        for path, source in files.items()
        if checksums.digest(STRONG, made.pieces(made.file(path)))
        != checksums.of_file(STRONG, source)
    ]
    wrong += _other_partitions(made, job)
    wrong += sorted(({*old} - gone | own) ^ {*made.nodes})
    wrong += [
        p for p in sorted({*old} & {*made.nodes} - own) if _facts(made.nodes[p]) != _facts(old[p])
    ]
    if wrong:
        what = f"the copy does not hold what it should: {', '.join(wrong[:3])}"
        raise BuildError(what, where=where)


def _other_partitions(made: Tree, job: Job) -> Iterator[str]:
    """EFI system partitions that are no files, and are not what they should be."""
    if not job.is_outside and not job.twins:
        return
    size, wanted = job.partition.stat().st_size, checksums.of_file(STRONG, job.partition)
    places = {(part.table, part.number): part.start * BLOCK for part in made.iso.partitions}
    starts = [places.get((part.table, part.number), 0) for part in job.twins]
    if job.is_outside and made.iso.uefi:
        starts.append(made.iso.uefi.start)
    for start in starts:
        if checksums.digest(STRONG, esp.pieces(made.iso.path, start, size)) != wanted:
            yield f"the EFI system partition at byte {start}"


def _facts(node: Node) -> tuple[object, ...]:
    """What has to be the same of a file that was not changed."""
    return (node.mode, node.uid, node.gid, node.mtime, node.size, node.target, node.rdev)

"""Whether a copy of an ISO image boots as the original does, and holds what it should."""

from __future__ import annotations

from pathlib import Path

from imagebuilder.errors import BuildError
from imagebuilder.iso import checksums, tree, xorriso
from imagebuilder.iso.model import Node
from imagebuilder.iso.probe import probe
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

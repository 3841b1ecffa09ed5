"""One copy of an ISO image that is to be made: all that is known before a byte is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagebuilder.iso import roles
from imagebuilder.iso.model import Node, Partition
from imagebuilder.iso.tree import Tree
from imagebuilder.iso.xorriso import Put
from imagebuilder.remaster.iso_plan import IsoChanges, Plan

PARTITION = "esp.img"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One copy to be made. `work` is a directory for files, `before` the original's set-up.

    `twins` are partitions with the same bytes as the EFI system partition, and stay that.
    """

    files: Tree
    plan: Plan
    changes: IsoChanges
    work: Path
    before: list[str]
    twins: tuple[Partition, ...] = ()

    @property
    def partition(self) -> Path:
        """The copy of the EFI system partition."""
        return self.work / PARTITION

    def partition_file(self) -> tuple[Put, ...]:
        """The new EFI system partition, where it is a file of the image."""
        uefi = self.files.iso.uefi
        node = roles.boot_file(self.files, uefi) if uefi and self.plan.esp else None
        if node is None:
            return ()
        mode = node.mode & 0o777
        put = Put(source=self.partition, path=node.path, mode=mode, mtime=self.changes.epoch)
        return (put,)

    @property
    def is_outside(self) -> bool:
        """Whether the EFI system partition changes, and is no file of the image."""
        uefi = self.files.iso.uefi
        return bool(self.plan.esp) and uefi is not None and not roles.boot_file(self.files, uefi)

    def puts(self, place: Path) -> tuple[Put, ...]:
        """All files with new contents, those that are bytes as files in the new directory."""
        place.mkdir()
        nodes, epoch = self.files.nodes, self.changes.epoch
        puts = [
            Put(source=source, path=path, mode=_mode(nodes.get(path), source), mtime=epoch)
            for path, source in self.plan.files.items()
        ]
        for index, (path, content) in enumerate(sorted(self.plan.contents.items())):
            (place / str(index)).write_bytes(content)
            mode = nodes[path].mode & 0o777 if path in nodes else 0o444
            puts.append(Put(source=place / str(index), path=path, mode=mode, mtime=epoch))
        return (*puts, *self.partition_file())


def _mode(there: Node | None, source: Path) -> int:
    """An older file's mode; for a new one readable by all, and a program if it is one."""
    return there.mode & 0o777 if there else 0o444 | source.stat().st_mode & 0o111

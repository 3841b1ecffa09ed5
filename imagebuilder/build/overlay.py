"""The root tree as a pile of directories: only the topmost is written to, the others are layers.

The pile has the same shape whether its layers were made or found, so that what an overlay does
unlike a plain directory (a hard link breaks when one of its names is written to) happens either
way, and an image has the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder import process
from imagebuilder.build import finish
from imagebuilder.cache.remove import remove
from imagebuilder.process import Command
from imagebuilder.sandbox import kernel

OPTIONS = (",redirect_dir=off,metacopy=off", ",userxattr")  # with the second, as other users


def copying(source: Path, target: Path) -> Command:
    """The command that copies a tree, with all that an overlay keeps in attributes."""
    return Command(("cp", "--archive", "--no-target-directory", str(source), str(target)))


@dataclass(slots=True)
class Pile:
    """The layers of the tree that is mounted at `tree`, the lowest first, and what is on top.

    `flat`: the kernel has refused an overlay, so the tree is a copy without layers.
    """

    tree: Path
    scratch: Path
    layers: list[Path] = field(default_factory=list)
    flat: bool = False
    made: int = 0

    @property
    def upper(self) -> Path:
        """The directory that is written to."""
        return self.scratch / f"upper-{self.made}"

    def mount(self, layers: Sequence[Path]) -> None:
        """Mount these layers, with a new directory on top; what was on top before is dropped."""
        if self.made:
            self._drop()
        self.layers = list(layers)
        self._mount()

    def freeze(self, epoch: int) -> Path | None:
        """Make a layer of what is on top and go on above it; None if that cannot be done.

        It cannot where something is mounted in the tree. Times are clamped to `epoch`.
        """
        if self.flat or kernel.mounts_below(self.tree) != (self.tree,):
            return None
        kernel.unmount(self.tree)
        frozen = self.upper
        finish.clamp_times(frozen, epoch)
        self.layers.append(frozen)
        self._mount()
        return frozen

    def clamp_times(self, epoch: int) -> None:
        """Clamp the times of the tree to `epoch`, those of layers having been clamped before."""
        on_top = not self.flat and kernel.mounts_below(self.tree) == (self.tree,)
        finish.clamp_times(self.tree, epoch, like=self.upper if on_top else None)

    def _drop(self) -> None:
        kernel.unmount(self.tree)
        with suppress(OSError):
            remove(self.upper)

    def _mount(self) -> None:
        self.made += 1
        work = self.scratch / f"work-{self.made}"
        self.upper.mkdir()
        work.mkdir()
        _make_alike(self.layers[-1], self.upper)
        links = [self._link(number, layer) for number, layer in enumerate(self.layers)]
        names = ":".join(map(str, reversed(links)))
        options = f"lowerdir={names},upperdir={self.upper},workdir={work}"
        for more in OPTIONS:
            with suppress(OSError):
                kernel.mount("overlay", self.tree, "overlay", options=options + more)
                return
        self.flat = True
        for layer in self.layers:
            process.run(copying(layer, self.tree))

    def _link(self, number: int, layer: Path) -> Path:
        """A short name: mount options have no room for many paths, nor for colons and commas."""
        link = self.scratch / f"layer-{self.made}-{number}"
        link.symlink_to(layer)
        return link


def _make_alike(model: Path, directory: Path) -> None:
    """Give a directory the mode, owner and times of another: it stands for the tree's top."""
    status = model.stat()
    directory.chmod(status.st_mode & 0o7777)
    os.chown(directory, status.st_uid, status.st_gid)
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))

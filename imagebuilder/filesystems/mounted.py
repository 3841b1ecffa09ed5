"""Filesystems that only the kernel can fill with everything that a tree has.

Their own tools lose hard links, times or device numbers. So the filesystem is made on a loop
device at its offset in the image, and mounted in a mount namespace that ends with the copying,
or with the builder. The host's mounts never change.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagebuilder.disk.model import Placed
from imagebuilder.errors import CommandError, SpaceError, ToolMissingError
from imagebuilder.process import Command, Runner
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter

FULL = "No space left on device"
MODULES = "/lib/modules"
ALL_IDS = ["0", "0", "4294967295"]  # user_namespaces(7): the first user namespace's only mapping


def fill(
    placed: Placed, tree: Path, image: Path, mkfs: Callable[[Path], Command], run: Runner
) -> None:
    """Run `mkfs` for a device at the filesystem's place, and copy `tree`; raise SpaceError."""
    part = loops.Part(file=image, offset=placed.offset, size=placed.size, sector=placed.sector)
    with loops.attached(part) as device:
        run(mkfs(device))
        with tempfile.TemporaryDirectory(prefix="mount-", dir=image.parent) as point:
            _copy(placed, tree, device, Path(point))


def check(kind: str) -> None:
    """Raise ToolMissingError unless filesystems of this kind can be mounted from a file here."""
    reason = obstacle(kind)
    if reason:
        raise ToolMissingError(
            f"{kind} cannot be written: {reason}",
            hint="build as root on a kernel that has it, or choose ext4 (FS_TYPE=ext4)",
        )


def obstacle(kind: str) -> str:
    """Why filesystems of this kind cannot be mounted from a file here; empty if they can."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split() != ALL_IDS:
        return "it has to be mounted, which takes root"
    if not in_kernel(kind):
        return f"it has to be mounted, and the kernel has no {kind}"
    try:
        loops.check()
    except ToolMissingError as error:
        return f"it has to be mounted, and there is {error.what}"
    return ""


def in_kernel(kind: str) -> bool:
    """Whether the running kernel has the filesystem, or a module with it."""
    present = Path("/proc/filesystems").read_text().split()
    module = Path(MODULES, os.uname().release, "modules.dep")
    return kind in present or (module.is_file() and f"/{kind}.ko" in module.read_text())


def _copy(placed: Placed, tree: Path, device: Path, point: Path) -> None:
    with enter(Sandbox(network=False)) as inside:
        inside(Command(("mount", "--make-rprivate", "/")))
        inside(mount(placed, device, point))
        try:
            inside(copy(tree, point))
            inside(Command(("umount", os.fspath(point))))
        except CommandError as error:
            if FULL not in error.what:
                raise
            raise SpaceError(
                f"{placed.size} are too few for what goes into {placed.filesystem.name}",
                where=str(tree),
                hint="make its partition, or the image, larger",
            ) from error


def mount(placed: Placed, device: Path, point: Path) -> Command:
    """The command that mounts it; another xfs of the same UUID may be mounted somewhere."""
    kind = placed.filesystem.type
    wanted = ("-o", options(kind)) if options(kind) else ()
    return Command(("mount", "-t", kind, *wanted, os.fspath(device), os.fspath(point)))


def options(kind: str) -> str:
    """The mount options that filesystems of this kind need here."""
    return "nouuid" if kind == "xfs" else ""


def copy(tree: Path, point: Path) -> Command:
    """The command that copies everything; an attribute that cannot be copied is an error."""
    return Command((
        "cp", "--recursive", "--no-dereference", "--no-target-directory",
        "--preserve=mode,ownership,timestamps,links,xattr",
        "--sparse=auto", "--reflink=never",
        os.fspath(tree), os.fspath(point),
    ))  # fmt: skip

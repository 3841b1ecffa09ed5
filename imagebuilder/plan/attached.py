"""Which builds need their disk as block devices while the last phases run, and why.

Nearly none does: hooks see the tree, and the disk is written when they are done. Elements written
for diskimage-builder may look for IMAGE_BLOCK_DEVICE, though, and get one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imagebuilder.disk.model import Disk, Kind
from imagebuilder.element.model import Element, HooksTree
from imagebuilder.errors import ConfigError
from imagebuilder.options import Request

PHASES = ("pre-finalise", "finalise", "cleanup")
NAMED = re.compile(rb"^[^#\n]*\bIMAGE_BLOCK_DEVICES?\b", re.MULTILINE)


def reason(request: Request, elements: Sequence[Element], tree: HooksTree) -> str:
    """Why the disk is attached; empty if it is not."""
    return next(_reasons(request, elements, tree), "")


def check(disk: Disk, why: str) -> None:
    """Raise ConfigError for a disk that cannot be attached."""
    for filesystem in disk.mounted:
        volume = disk.volume(filesystem.base)
        if volume is not None and volume.kind is Kind.THIN:
            raise ConfigError(
                f"a thin volume cannot be attached, and {why}",
                where=f"filesystem {filesystem.name}",
                hint="use volumes without a pool",
            )


def _reasons(request: Request, elements: Sequence[Element], tree: HooksTree) -> Iterator[str]:
    if request.attached:
        yield "it was asked for (--attached)"
    for element in elements:
        if element.attached_disk:
            yield f"element {element.name} asks for it"
    for phase in PHASES:
        for hook in tree.of(phase):
            if NAMED.search(hook.source.read_bytes()):
                yield f"{phase}.d/{hook.name} of element {hook.element} names IMAGE_BLOCK_DEVICE"

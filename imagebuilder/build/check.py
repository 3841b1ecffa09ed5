"""What has to be there before any work is done: tools, places for outputs, room."""

from __future__ import annotations

from pathlib import Path

from imagebuilder import registry
from imagebuilder.errors import ToolMissingError
from imagebuilder.formats import place
from imagebuilder.formats.model import Output, Source
from imagebuilder.options import Request
from imagebuilder.plan.model import Draft
from imagebuilder.process import find

TOOLS = {
    "ext2": ("mke2fs",), "ext3": ("mke2fs",), "ext4": ("mke2fs",),
    "vfat": ("mkfs.vfat", "mmd", "mcopy"),
    "qcow2": ("qemu-img",),
    "tar": ("tar",), "tgz": ("tar",),
}  # fmt: skip


def before(draft: Draft) -> None:
    """Raise the error that the build would end with otherwise."""
    wanted = outputs(draft.request, epoch=0)
    for output in wanted:
        place.check(output)
    poured = any(registry.find("formats", o.format).SOURCE is Source.DISK for o in wanted)
    kinds = [fs.type for fs in draft.disk.filesystems] if poured else []
    for kind in kinds:
        registry.find("filesystems", kind)
    tools = [tool for kind in (*kinds, *draft.request.types) for tool in TOOLS.get(kind, ())]
    missing = [tool for tool in dict.fromkeys(("bash", *tools)) if find(tool) is None]
    if missing:
        raise ToolMissingError(
            f"{', '.join(missing)} not installed",
            hint="'imagebuilder doctor --install' brings what is missing",
        )


def outputs(request: Request, epoch: int) -> tuple[Output, ...]:
    """The outputs that a request wants; files in them are no younger than `epoch` (seconds)."""
    return tuple(
        Output(
            path=Path(request.output_name + registry.find("formats", name).SUFFIXES[name]),
            format=name,
            options=tuple(filter(None, request.qemu_img_options.split(","))),
            compress=not request.uncompressed,
            checksums=tuple(filter(None, request.checksum.split(","))),
            overwrite=request.environment.get("OVERWRITE_OLD_IMAGE", "0") not in ("", "0"),
            epoch=epoch,
        )
        for name in dict.fromkeys(request.types)
    )

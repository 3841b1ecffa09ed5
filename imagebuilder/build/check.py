"""What has to be there before any work is done: tools, places for outputs, room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imagebuilder import registry
from imagebuilder.build import attach
from imagebuilder.disk.model import Kind
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.formats import place
from imagebuilder.formats.model import Output, Source
from imagebuilder.options import Request, cache_directory
from imagebuilder.plan.model import Draft
from imagebuilder.process import find
from imagebuilder.tools import table as tools
from imagebuilder.tools.model import DEBIAN

FEATURES = {"ext2": "ext4", "ext3": "ext4", "tgz": "tar"}  # where a tool's row has another name


def before(draft: Draft) -> None:
    """Raise the error that the build would end with otherwise."""
    wanted = outputs(draft, epoch=0)
    for output in wanted:
        place.check(output)
        module = registry.find("formats", output.format)
        if hasattr(module, "check"):
            module.check(replace(output, environment=draft.variables))
    poured = any(registry.find("formats", o.format).SOURCE.is_disk for o in wanted)
    filesystems = draft.disk.filesystems if poured else ()
    modules = {fs.type: registry.find("filesystems", fs.type) for fs in filesystems}
    pools = ["thin-pool"] if any(v.kind is Kind.THIN_POOL for v in draft.disk.volumes) else []
    _check_tools(draft, (*modules, *pools, *draft.types))
    for fs in filesystems:
        if hasattr(modules[fs.type], "check"):
            modules[fs.type].check(fs)
    if draft.attached:
        attach.check(draft.disk, draft.attached)


def has_medium(draft: Draft) -> bool:
    """Whether an output is made of the files of a CD."""
    sources = [registry.find("formats", name).SOURCE for name in draft.types]
    return Source.MEDIUM in sources


def make_cache(request: Request) -> None:
    """Make the directory of caches, which hooks expect to be there."""
    directory = cache_directory(request)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot be made: {error.strerror}", where=str(directory), hint="set DIB_IMAGE_CACHE"
        ) from error


def _check_tools(draft: Draft, features: tuple[str, ...]) -> None:
    own = tools.of_elements(element.name for element in draft.elements)
    wanted = {FEATURES.get(name, name) for name in (*own, *features)} & set(tools.FEATURES)
    rows = [t for t in tools.needed(sorted(wanted)) if not t.files and not t.module]
    missing = [tool for tool in rows if find(tool.name) is None]
    if missing:
        packages = " ".join(sorted({tool.packages[DEBIAN] for tool in missing}))
        raise ToolMissingError(
            f"not installed: {', '.join(tool.name for tool in missing)}",
            hint=f"'imagebuilder doctor --install' brings what is missing ({packages})",
        )


def outputs(draft: Draft, epoch: int) -> tuple[Output, ...]:
    """The outputs that will be made; files in them are no younger than `epoch` (seconds)."""
    request = draft.request
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
        for name in draft.types
    )

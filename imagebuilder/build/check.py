"""What has to be there before any work is done: tools, places for outputs, room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imagebuilder import registry
from imagebuilder.build import attach, existing_disk, foreign
from imagebuilder.disk.model import Filesystem, Kind
from imagebuilder.element import load
from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.formats import place, qemu_img
from imagebuilder.formats.model import Output, Source
from imagebuilder.options import Request, cache_directory, lock_directory
from imagebuilder.plan.model import Draft, Plan
from imagebuilder.process import find
from imagebuilder.report.write import directory_of
from imagebuilder.tools import table as tools
from imagebuilder.tools.model import DEBIAN

FEATURES = {"ext2": "ext4", "ext3": "ext4"}  # where a tool's row has another name


def before(draft: Draft) -> None:
    """Raise the error that the build would end with otherwise."""
    _check_name(draft.request.output_name)
    _check_beside(directory_of(draft.request.output_name))
    for output in formats(draft):
        place.check(output)
    check_tools(draft)
    foreign.check(draft)
    for fs in _filesystems(draft):
        module = registry.find("filesystems", fs.type)
        if hasattr(module, "check"):
            module.check(fs)
    existing_disk.check(draft)
    if draft.attached:
        attach.check(draft.disk, draft.attached)


def _check_name(name: str) -> None:
    if name.rpartition("/")[2] in ("", ".", ".."):
        raise ConfigError(
            f"is not the name of a file: {name!r}", where="-o", hint="write it like -o images/web"
        )


def _check_beside(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise ConfigError(
            "is not a directory, and the report belongs there", where=str(directory),
            hint="choose another name for the output, or move it away",
        )  # fmt: skip


def _filesystems(draft: Draft) -> tuple[Filesystem, ...]:
    """Those that will be poured."""
    poured = any(registry.output_format(name).SOURCE.is_disk for name in draft.types)
    return draft.disk.filesystems if poured else ()


def has_medium(draft: Draft) -> bool:
    """Whether an output is made of the files of a CD."""
    sources = [registry.output_format(name).SOURCE for name in draft.types]
    return Source.MEDIUM in sources


def formats(draft: Draft) -> tuple[Output, ...]:
    """The outputs; raise the error that one of their formats, or its options, would make later."""
    wanted = outputs(draft, epoch=0)
    for output in wanted:
        module = registry.output_format(output.format)
        if hasattr(module, "check"):
            module.check(output)
    return wanted


def settled(plan: Plan) -> None:
    """Raise what else would go wrong, now that `environment.d` has set the variables."""
    for output in outputs(plan.draft, plan.epoch):
        module = registry.output_format(output.format)
        if hasattr(module, "check_settled"):
            module.check_settled(replace(output, environment=plan.environment))


def make_cache(request: Request) -> None:
    """Make the directories of caches and of locks, which hooks expect to be there."""
    for directory, variable in (
        (cache_directory(request), "DIB_IMAGE_CACHE"),
        (lock_directory(request), "DIB_LOCKFILES"),
    ):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be made: {error.strerror}", where=str(directory), hint=f"set {variable}"
            ) from error


def check_tools(draft: Draft) -> None:
    """Raise ToolMissingError for all programs that are missing."""
    types = [fs.type for fs in _filesystems(draft)]
    pools = ["thin-pool"] if any(v.kind is Kind.THIN_POOL for v in draft.disk.volumes) else []
    features = [feature for name in draft.types for feature in _features(name)]
    own = tools.of_elements(e.name for e in draft.elements if load.is_ours(e))
    named = (*own, *types, *pools, *features)
    wanted = {FEATURES.get(name, name) for name in named} & set(tools.FEATURES)
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
    request, given = draft.request, draft.request.environment
    options = _options(draft)
    manifest = given.get("ACI_MANIFEST", "")
    return tuple(
        Output(
            path=Path(request.output_name + registry.suffix(name)),
            format=name,
            options=options[name],
            compress=not request.uncompressed,
            checksums=tuple(filter(None, request.checksum.split(","))),
            overwrite=given.get("OVERWRITE_OLD_IMAGE", "0") not in ("", "0"),
            epoch=epoch,
            arch=request.arch,
            target=request.docker_target,
            aci_manifest=Path(manifest) if manifest else None,
            gzip=given.get("DIB_GZIP_BIN", ""),
            squashfs=request.squashfs_compression,
            environment=draft.variables,
        )
        for name in draft.types
    )


def _options(draft: Draft) -> Mapping[str, tuple[str, ...]]:
    """The options of `--qemu-img-options` for each output; plugins that do not ask get them all."""
    text = draft.request.qemu_img_options
    modules = {name: registry.output_format(name) for name in draft.types}
    converted = {
        name: module.for_qemu_img(name)
        for name, module in modules.items()
        if hasattr(module, "for_qemu_img")
    }
    everything = dict.fromkeys(draft.types, tuple(filter(None, text.split(","))))
    return {**everything, **qemu_img.scoped(text, converted)}


def _features(name: str) -> tuple[str, ...]:
    """The rows of the table of tools that a format needs."""
    features: tuple[str, ...] = getattr(registry.output_format(name), "FEATURES", (name,))
    return features

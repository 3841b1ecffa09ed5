"""From a Request to a Plan. Between the two steps somebody has to run `environment.d`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import yaml

from imagebuilder import registry, schema
from imagebuilder.disk import layout, probe
from imagebuilder.disk import load as disk_load
from imagebuilder.disk.model import Defaults, Disk
from imagebuilder.element import documents, load, merge, packages, resolve
from imagebuilder.element import environment as element_environment
from imagebuilder.element.model import PHASES, Element, HooksTree
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.options import (
    FROM_BATCH,
    SHARED_PACKAGES,
    Request,
    cache_directory,
    lock_directory,
    split,
)
from imagebuilder.plan import attached, existing
from imagebuilder.plan.epoch import EPOCH
from imagebuilder.plan.model import Draft, Plan, PlannedOutput
from imagebuilder.sizes import UNITS, Size

BARE = """\
- local_loop: {name: image0}
- mkfs:
    name: mkfs_root
    base: image0
    mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}
"""
# What says how to build, and nothing about the image: manifests of equal images are equal.
INWARD_WORD = re.compile(r"--(no-cache|no-tmpfs|offline|incremental|refresh(=.*)?)")
INWARD = (
    "DIB_APT_LOCAL_CACHE", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_MIN_TMPFS", "DIB_NO_TMPFS",
    "DIB_OFFLINE", "DIB_QUIET", "DIB_SHOW_IMAGE_USAGE", "DIB_SHOW_IMAGE_USAGE_FULL",
)  # fmt: skip
NUMBERED = re.compile(r"[0-9]")  # a file whose name begins so is meant to be a hook, and not data
DIB_PACKAGES = "IMAGEBUILDER_DIB_PACKAGES"
NO_DISK = "no-final-image"  # anywhere in an element's name
EFI_LAYOUT = "block-device-efi"  # so, too
EFI_ROOM = Size(525 * UNITS["MiB"])
EXACT_SIZE = "IMAGEBUILDER_EXACT_SIZE"
NOT_DISKS = ("tree", "medium")  # the SOURCE of formats that need no disk
TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")  # of an output
# What bash takes for an exported function; a hook calls it as `... || die 'message'`.
DIE = """\
() {  local status=$?;
 set +o xtrace;
 echo "$*" >&2;
 exit $((status ? status : 1))
}"""


def draft(request: Request) -> Draft:
    """Resolve, merge and check everything that needs no program to be run."""
    _check_types(request.types)
    search = load.search_path(request.environment.get("ELEMENTS_PATH", ""))
    elements = resolve.resolve(request.elements, load.index(search))
    element_environment.check(elements, request.environment)
    _check_refreshed(request, elements)
    tree = merge.merge(elements)
    image = existing.image(request, elements)
    # No layer lies on somebody else's disk, which has a size, too.
    request = replace(request, no_cache=True) if image else _with_room(request, elements)
    document = block_device(request, elements)
    disk = disk_load.load(document, defaults(request))
    why = "" if image else attached.reason(request, elements, tree)
    if why:
        attached.check(disk, why)
    types = _types(request, elements)
    if not image and any(_is_disk(name) for name in types):
        layout.check(disk, request.image_size)
    return Draft(
        request=request,
        elements=elements,
        tree=tree,
        disk=disk,
        disk_source=str(image) if image else document.where,
        types=types,
        variables=_variables(request, elements, disk, ":".join(map(str, search))),
        attached=why,
        existing=image,
        warnings=(
            *_warnings(search, elements, tree),
            *disk_load.remarks(document, defaults(request)),
            *_warnings_of_types(request),
        ),
    )


def finish(draft: Draft, environment: Mapping[str, str]) -> Plan:
    """The plan, once `environment` is known: what `environment.d` made of the variables."""
    request = draft.request
    element_environment.check_required(draft.elements, environment)
    changes = packages.requests(draft.elements, environment)
    plugins = registry.names("boot")
    return Plan(
        draft=draft,
        environment=environment,
        packages=changes,
        early=_shared(packages.early(draft.elements, draft.tree, changes), request),
        boot_loaders=tuple(e.name for e in draft.elements if e.name in plugins),
        outputs=tuple(
            PlannedOutput(format=name, path=Path(request.output_name + registry.suffix(name)))
            for name in draft.types
        ),
        secrets=element_environment.secrets(draft.elements, environment),
        epoch=int(draft.variables["SOURCE_DATE_EPOCH"]),
        warnings=(*draft.warnings, *packages.warnings(draft.elements)),
    )


def _shared(early: tuple[str, ...], request: Request) -> tuple[str, ...]:
    """Those of the early packages that all images have which are to share a root tree."""
    names = request.environment.get(SHARED_PACKAGES, "").split()
    return tuple(name for name in early if name in names) if names else early


def _with_room(request: Request, elements: tuple[Element, ...]) -> Request:
    """diskimage-builder counts the EFI system partition as an addition to the size asked for."""
    exact = request.environment.get(EXACT_SIZE, "0") not in {"", "0"}
    if request.image_size is None or exact or not any(EFI_LAYOUT in e.name for e in elements):
        return request
    return replace(request, image_size=Size(request.image_size + EFI_ROOM))


def _types(request: Request, elements: tuple[Element, ...]) -> tuple[str, ...]:
    """Archives are always made; disks are not, where an element stands for another output."""
    others = request.ramdisk or any(NO_DISK in element.name for element in elements)
    return tuple(name for name in dict.fromkeys(request.types) if not others or not _is_disk(name))


def _is_disk(name: str) -> bool:
    """Whether the format is made of the disk, not of the tree."""
    return registry.output_format(name).SOURCE.value not in NOT_DISKS


def _check_types(names: Sequence[str]) -> None:
    """A format that no plugin has may be one of qemu-img's, if it can be a file's extension."""
    wrong = [f"not the name of a format: {name!r}" for name in names if not TYPE.fullmatch(name)]
    if wrong or not names:
        what = wrong[0] if wrong else "no format is named"
        raise ConfigError(what, where="-t", hint="formats are like qcow2,vmdk")


def _check_refreshed(request: Request, elements: tuple[Element, ...]) -> None:
    known = [*(phase.name for phase in PHASES), *(element.name for element in elements)]
    for name in request.refresh:
        if name not in known:
            raise ConfigError(
                f"neither a phase nor an element of this build: {name!r}",
                where="--refresh",
                hint=nearest(name, known),
            )


def block_device(request: Request, elements: tuple[Element, ...]) -> schema.Document:
    """The document that describes the disk: the variable's, an element's, or a bare root.

    It is taken as strictly as other files that were written for diskimage-builder: not very.
    """
    text = request.environment.get("DIB_BLOCK_DEVICE_CONFIG", "")
    if text.startswith("file://"):
        return schema.read(Path(text.removeprefix("file://")), lenient=True)
    if text:
        return schema.parse(text, where="DIB_BLOCK_DEVICE_CONFIG", lenient=True)
    arch = {"ppc64le": "ppc64el"}.get(request.arch, request.arch)
    for element in elements:
        for name in (f"block-device-{arch}.yaml", "block-device-default.yaml"):
            if (element.path / name).is_file():
                foreign = not (element.path / "element.yaml").exists()
                return schema.read(element.path / name, lenient=foreign)
    return schema.parse(BARE, where="a disk without partitions")


def defaults(request: Request) -> Defaults:
    """What the command line and the environment say about the disk."""
    sector = request.environment.get("DIB_BLOCK_SIZE", "")
    if sector and sector not in ("512", "4096"):
        raise ConfigError(
            f"not a sector size: {sector!r}", where="DIB_BLOCK_SIZE", hint="512 or 4096"
        )
    return Defaults(
        image=Path(request.output_name).name,
        root_type=request.root_type,
        root_label=request.root_label,
        root_options=_mkfs_options(request),
        sector=int(sector) if sector else None,
    )


def _mkfs_options(request: Request) -> tuple[str, ...]:
    try:
        own = tuple(shlex.split(request.mkfs_options))
    except ValueError as error:
        raise ConfigError(f"not words of a shell: {error}", where="--mkfs-options") from error
    if request.root_type != "ext4":
        return own
    resize = request.max_online_resize
    journal = request.journal_size // UNITS["MiB"]
    return (
        *(("-E", f"resize={resize}") if resize else ()),
        *("-i", "4096", "-J", f"size={journal}"),
        *own,
    )


def _variables(
    request: Request, elements: tuple[Element, ...], disk: Disk, search: str
) -> dict[str, str]:
    """What hooks find in their environment, apart from the places of this very build."""
    given = request.environment
    arguments = " ".join(word for word in request.words if not INWARD_WORD.fullmatch(word))
    names = " ".join(element.name for element in elements)
    pairs = " ".join(f"[{element.name}]={element.path}" for element in elements)
    boot = next((fs.label for fs in disk.mounted if fs.mount_point == "/boot"), "")
    tables = [partitioning.label.value for partitioning in disk.partitionings]
    return element_environment.defaults(elements) | {
        key: value
        for key, value in given.items()
        if key not in FROM_BATCH and (value or key not in _never_empty(elements))
    } | {
        "ARCH": request.arch,
        "DIB_ARGS": arguments,
        "DIB_BOOT_LABEL": boot,
        "DIB_CHECKSUM": {"": "0", "md5,sha256": "1"}.get(request.checksum, request.checksum),
        "DIB_DEBUG_TRACE": str(request.trace),
        "DIB_ENV": _declared_as_bash({**given, "DIB_ARGS": arguments}),
        "DIB_IMAGE_CACHE": str(cache_directory(request)),
        **_asked(request),
        **_for_others(elements, given),
        "DIB_LOCKFILES": str(lock_directory(request)),
        "DIB_MOUNTPOINTS": "|".join(disk.mount_points),
        "DIB_OFFLINE": "1" if request.offline else "",
        "DIB_ROOT_FSTYPE": disk.root.type,
        "DIB_ROOT_LABEL": disk.root.label,
        "ELEMENTS_PATH": search,
        "FS_TYPE": request.root_type,
        "IMAGE_ELEMENT": names,
        "IMAGE_ELEMENT_YAML": _as_yaml({e.name: str(e.path) for e in elements}),
        "BASH_FUNC_die%%": DIE,
        "BASH_FUNC_get_image_element_array%%": f"() {{  echo '{pairs}'\n}}",
        "IMAGE_NAME": request.output_name,
        "IMAGE_TYPE": given.get("IMAGE_TYPE") or "qcow2",
        "IMAGEBUILDER_FILESYSTEMS": probe.rows(disk, _table_name(tables)),
        "IMAGEBUILDER_PARTITION_TABLE": _table_name(tables),
        "IMAGEBUILDER_ROOT_UUID": str(disk.root.uuid),
        "LC_ALL": "C",
        "OUT_IMAGE_PATH": "",
        "SOURCE_DATE_EPOCH": _epoch(given),
    }  # fmt: skip


def _as_yaml(mapping: Mapping[str, str]) -> str:
    return yaml.safe_dump(dict(mapping), sort_keys=False, width=10**6)


def _asked(request: Request) -> dict[str, str]:
    """Options, as they were given, under the names that diskimage-builder exports them with."""
    words, given = split(request.words)[0], request.environment
    flags = {
        "DIB_IMAGE_SIZE": ("--image-size", ""),
        "DIB_IMAGE_EXTRA_SIZE": ("--image-extra-size", ""),
        "DIB_MIN_TMPFS": ("--min-tmpfs", f"{request.min_tmpfs / UNITS['GiB']:g}"),
    }
    told = {
        **{
            name: _last_after(flag, words) or given.get(name) or default
            for name, (flag, default) in flags.items()
        },
        "SKIP_BASE": "1" if request.no_base else "",
        "RAMDISK_ELEMENT": (request.ramdisk_element or "ramdisk") if request.ramdisk else "",
        "MAX_ONLINE_RESIZE": str(request.max_online_resize or ""),
        "DOCKER_TARGET": request.docker_target,
        "DIB_DEFAULT_INSTALLTYPE": request.install_type,  # an element may have a default of its own
    }
    found = {name: value for name, value in told.items() if value}
    return {**found, "DIB_NO_TMPFS": str(int(request.no_tmpfs))}


def _last_after(flag: str, words: Sequence[str]) -> str:
    """The word after the last `flag`, or nothing."""
    return next((b for a, b in reversed([*pairwise(words)]) if a == flag), "")


def _for_others(elements: Sequence[Element], given: Mapping[str, str]) -> dict[str, str]:
    """Hooks that do not know us count on packages that diskimage-builder's root has."""
    if given.get(DIB_PACKAGES) or all((e.path / "element.yaml").exists() for e in elements):
        return {}
    return {DIB_PACKAGES: "1"}


def _table_name(labels: list[str]) -> str:
    """What GRUB calls the first partition table."""
    return {"mbr": "msdos", "gpt": "gpt"}[labels[0]] if labels else "none"


def _declared_as_bash(given: Mapping[str, str]) -> str:
    """The caller's `DIB_` variables as `declare -p` prints them."""
    names = [key for key in sorted(given) if key.startswith("DIB_") and key not in INWARD]
    pairs = ((key, re.sub(r'(["$`\\])', r"\\\1", given[key])) for key in names)
    return "\n".join(f'declare -x {key}="{text}"' for key, text in pairs)


def _never_empty(elements: tuple[Element, ...]) -> frozenset[str]:
    """The variables whose default counts if they are given without a value."""
    variables = (variable for element in elements for variable in element.variables)
    return frozenset(variable.name for variable in variables if not variable.empty)


def _epoch(environment: Mapping[str, str]) -> str:
    text = environment.get("SOURCE_DATE_EPOCH") or str(EPOCH)
    if not re.fullmatch(r"\d{1,11}", text):
        raise ConfigError(
            f"not a time: {text!r}", where="SOURCE_DATE_EPOCH", hint="seconds since 1970-01-01 UTC"
        )
    return text


def _warnings_of_types(request: Request) -> tuple[str, ...]:
    if "aci" in request.types and not request.environment.get("ACI_MANIFEST"):
        return ("the aci image has no manifest: ACI_MANIFEST does not name one",)
    return ()


def _warnings(
    search: tuple[Path, ...], elements: tuple[Element, ...], tree: HooksTree
) -> tuple[str, ...]:
    used = {element.name for element in elements}
    pairs = load.overridden(search)
    return (
        *(f"Element <{ours}> overrides <{other}>" for ours, other in pairs if ours.name in used),
        *(f"{ours} replaces {other}" for ours, other in tree.replaced),
        *documents.remarks(elements),
        *(
            f"{path} will not run: {reason}"
            for path, reason in tree.ignored
            if NUMBERED.match(path.name)
        ),
    )

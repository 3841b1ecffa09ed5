"""What each step of a build depends on, by name, and the content id that follows from it.

A step is one phase, or several that share a layer. Its id is the SHA-256 of the id of the step
before it and of its own inputs: hooks with their modes and bytes, other files that they can see,
packages, variables, and what `fingerprint.d` found outside. What changes from call to call and
says nothing about the image (`VOLATILE`) does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imagebuilder
from imagebuilder.disk.fstab import fstab
from imagebuilder.element.model import ALL_PHASES, PHASES, Element, Phase
from imagebuilder.plan import breaks
from imagebuilder.plan.model import Plan
from imagebuilder.plan.owned import Owned, owned, sha256

LIBRARY = Path(imagebuilder.__file__).parent / "lib"
FORMAT = "3"  # part of every id: a change in what phases do on their own changes it
STEPS = (  # phases whose effect is one layer, and the step's name
    ("root", ("root",)),
    ("extra-data", ("extra-data",)),
    ("pre-install", ("pre-install",)),
    ("install", ("install",)),
    ("post-install", ("post-install",)),
    ("pre-finalise", ("post-root", "block-device", "pre-finalise")),
    ("finalise", ("finalise",)),
    ("cleanup", ("cleanup",)),
)
VOLATILE = re.compile(
    r"(TMPDIR|TMP_DIR|TMP_(BUILD|IMAGE)_DIR|TMP_(HOOKS|MOUNT)_PATH|HOME|PWD|OLDPWD|SHLVL|_|_LIB|USER|LOGNAME|SHELL|TERM|COLORTERM|MAIL|LANG|PATH"
    r"|(SSH|XDG|DBUS|SUDO|LS|LESS|GPG|PIP|PYENV|VIRTUAL|PYTEST|CI|TMUX)(_\w+|OPEN|CLOSE)?|PYTHON\w*|COLUMNS|LINES"
    r"|\w+_proxy|\w+_PROXY|DISPLAY|EDITOR|PAGER|HOSTNAME|INVOCATION_ID|JOURNAL_STREAM"
    r"|ELEMENTS_PATH|IMAGE_ELEMENT_YAML|BASH_FUNC_get_image_element_array%%"
    r"|DIB_(QUIET|NO_TIMESTAMP|DEBUG_TRACE|NO_TMPFS|MIN_TMPFS|IMAGE_CACHE|LOCKFILES|OFFLINE"
    r"|BLOCK_DEVICE_PARAMS_YAML|PYTHON_EXEC|CHECKSUM|IMAGE_SIZE|IMAGE_EXTRA_SIZE|ARGS|ENV"
    r"|SHOW_IMAGE_USAGE|SHOW_IMAGE_USAGE_FULL|GZIP_BIN)|OVERWRITE_OLD_IMAGE|ACI_MANIFEST"
    r"|IMAGEBUILDER_(HOOK_TIMEOUT|NO_CACHE|CACHE_MAX_SIZE|CACHE_MAX_AGE))"
)
# What any hook may read without declaring it, beside its element's own variables.
COMMON = re.compile(
    r"ARCH|DISTRO_NAME|DIB_RELEASE|DIB_INIT_SYSTEM|SOURCE_DATE_EPOCH|IMAGE_ELEMENT|LC_ALL|FS_TYPE"
    r"|DIB_(BOOT_LABEL|MOUNTPOINTS|ROOT_FSTYPE|ROOT_LABEL|DEFAULT_INSTALLTYPE|INSTALLTYPE_\w+)"
    r"|IMAGEBUILDER_(FILESYSTEMS|PARTITION_TABLE|ROOT_UUID)|EFI_BOOT_DIR|DEBIAN_FRONTEND"
    r"|DIB_MANIFEST_IMAGE_DIR|DIB_PYTHON\w*|DIB_SKIP_\w+|INITRD"
)
# What elements say to the program: whose is in the merged tree changes with the last element.
ABOUT = (
    "element.yaml", "element-deps", "element-provides", "package-installs.yaml",
    "package-installs.json", "pkg-map",
)  # fmt: skip
OUTWARD = ("finalise", "cleanup")  # steps that know what the image is called


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """A step and its inputs, in order.

    `known`: there is nothing else that its result depends on, as its elements promise.
    """

    name: str
    phases: tuple[Phase, ...]
    inputs: Mapping[str, str]
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepId:
    """A step's place in the chain: its id, and the inputs that make it, in order."""

    phase: str
    id: str
    inputs: Mapping[str, str]
    known: bool


def steps(plan: Plan, fingerprints: Mapping[str, str]) -> tuple[StepInputs, ...]:
    """The steps that have something to do, in order.

    `fingerprints` are the digests of what the programs in `fingerprint.d` printed. An element
    with a program that is not among them makes what is not known from its inputs.
    """
    files = owned(plan.draft)
    return tuple(
        _step(plan, files, name, phases, fingerprints) for name, phases in _phases_of_steps(plan)
    )


def chain(plan: Plan, fingerprints: Mapping[str, str]) -> tuple[StepId, ...]:
    """The ids of the steps, each built on the one before, as if all were known."""
    found: list[StepId] = []
    previous = FORMAT
    for step in steps(plan, fingerprints):
        previous = identify(previous, step.inputs)
        found.append(StepId(phase=step.name, id=previous, inputs=step.inputs, known=step.known))
    return tuple(found)


def identify(previous: str, inputs: Mapping[str, str]) -> str:
    """The id of a step with these inputs after the step `previous`."""
    return sha256(json.dumps([previous, sorted(inputs.items())]).encode())


def of_outputs(plan: Plan, tree: str, cleanup: Mapping[str, str]) -> str:
    """The id of what is written outside the tree, from the tree's id and the inputs of cleanup.d.

    More counts here than for the tree: manifests record the caller's words and variables.
    """
    request = plan.request
    asked = {name: repr(getattr(request, name)) for name in request.__dataclass_fields__}
    for name in (
        "environment",
        "words",
        "logfile",
        "no_cache",
        "refresh",
        "incremental",
        "offline",
    ):
        asked.pop(name, None)
    told = {name: plan.environment.get(name, "") for name in ("DIB_ARGS", "DIB_ENV")}
    told |= {name: request.environment.get(name, "") for name in ("DIB_GZIP_BIN",)}
    told["manifest"] = _content(request.environment.get("ACI_MANIFEST", ""))
    made = {"boot": " ".join(plan.boot_loaders), "disk": repr(plan.draft.disk)}
    return identify(tree, {**asked, **told, **made, **cleanup})


def _content(path: str) -> str:
    file = Path(path)
    return sha256(file.read_bytes()) if path and file.is_file() else path


@cache
def _library() -> str:
    """The digest of the programs and shell libraries that all hooks find."""
    files = [path for path in LIBRARY.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sha256(
        json.dumps([
            [path.relative_to(LIBRARY).as_posix(), sha256(path.read_bytes())]
            for path in sorted(files)
        ]).encode()
    )


def refreshed(plan: Plan) -> str:
    """The first step that `--refresh` asks to take again; nothing if it does not."""
    wanted = set(plan.request.refresh)
    if not wanted:
        return ""
    files = owned(plan.draft)
    for name, phases in _phases_of_steps(plan):
        elements = {element.name for element in files.taking_part(phases) if element}
        if wanted & ({name} | elements | {phase.name for phase in phases}):
            return name
    return "root"


def _phases_of_steps(plan: Plan) -> Iterator[tuple[str, tuple[Phase, ...]]]:
    """Steps with something to do; what the core itself does before finalise.d goes with that."""
    carried: tuple[Phase, ...] = ()
    for name, members in STEPS:
        phases = (*carried, *(phase for phase in PHASES if phase.name in members))
        if name == "finalise" or any(_at_work(plan, phase) for phase in phases):
            yield name, phases
            carried = ()
        elif name == "pre-finalise":
            carried = phases


def _at_work(plan: Plan, phase: Phase) -> bool:
    prefix = f"{phase.directory}/"
    return _extra(plan, phase) or any(n.startswith(prefix) for n in plan.draft.tree.files)


def _extra(plan: Plan, phase: Phase) -> bool:
    packages = phase.name == "install" and bool(plan.request.packages)
    return packages or breaks.wanted(phase, plan.request.environment)


def _step(
    plan: Plan,
    files: Owned,
    name: str,
    phases: tuple[Phase, ...],
    fingerprints: Mapping[str, str],
) -> StepInputs:
    owners = files.taking_part(phases)
    elements = [element for element in owners if element]
    programs = {p for e in elements for p in files.fingerprints.get(e.name, ())}
    known = (
        None not in owners
        and all(element.cacheable for element in elements)
        and programs <= fingerprints.keys()
    )
    only_own = known and name == "root"
    inputs = {
        **dict(_file_inputs(files, phases, only_own=only_own)),
        **({} if only_own else files.translations),
        **{f"fingerprint {p}": fingerprints[p] for p in programs & fingerprints.keys()},
        **dict(_variables(plan, name, elements if known else None)),
        **dict(pair for phase in phases for pair in _other_inputs(plan, phase)),
        "architecture": plan.request.arch,
        "programs for hooks": _library(),
    }
    return StepInputs(name=name, phases=phases, inputs=dict(sorted(inputs.items())), known=known)


def _file_inputs(
    files: Owned, phases: tuple[Phase, ...], *, only_own: bool
) -> Iterator[tuple[str, str]]:
    """The step's hooks, and the other files that they can see, or only those of its elements."""
    own = tuple(f"{phase.directory}/" for phase in phases)
    others = (*(f"{phase.directory}/" for phase in ALL_PHASES), "fingerprint.d/", "README")
    taking_part = {id(element) for element in files.taking_part(phases)}
    for name, digest in files.digests.items():
        if name.startswith(own):
            yield f"hook {name}", digest
        elif name.startswith("environment.d/") or not (
            name.startswith(others)
            or (only_own and (name in ABOUT or id(files.owners[name]) not in taking_part))
        ):
            yield f"file {name}", digest


def _other_inputs(plan: Plan, phase: Phase) -> Iterator[tuple[str, str]]:
    """Packages, and what the core does in a phase; values are short."""
    change = plan.packages.get(phase.name)
    for verb in ("install", "uninstall") if change else ():
        yield f"packages to {verb}", " ".join(n for r in getattr(change, verb) for n in r.names)
    if phase.name == "root":
        yield "packages of the bootstrap", " ".join(plan.early)
    if phase.name == "block-device":
        yield "fstab", sha256(fstab(plan.draft.disk).encode())
    if _extra(plan, phase):
        yield "packages of -p", " ".join(plan.request.packages)


def _variables(
    plan: Plan, step: str, elements: Iterable[Element] | None
) -> Iterator[tuple[str, str]]:
    """What the elements declare and `COMMON`, or all variables; secrets cannot be read back.

    An element that is `cacheable` promises to read no others, so that images can share layers.
    """
    declared = {variable.name for element in elements or () for variable in element.variables}
    for name, value in sorted(plan.environment.items()):
        if VOLATILE.fullmatch(name):
            continue
        if elements is None or name in declared or _is_common(step, name):
            yield f"variable {name}", sha256(value.encode()) if value in plan.secrets else value


def _is_common(step: str, name: str) -> bool:
    if step == "root":
        return name in ("DISTRO_NAME", "SOURCE_DATE_EPOCH")
    return bool(COMMON.fullmatch(name)) or (name == "IMAGE_NAME" and step in OUTWARD)

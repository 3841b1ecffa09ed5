"""What each phase depends on, by name, and the content id that follows from it.

An id is the SHA-256 of the id before it and of the phase's own inputs. Every hook with its mode
and bytes, every other file that hooks can see, the packages, and the variables count; what
changes from call to call and says nothing about the image (`VOLATILE`) does not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.element.model import PHASES, Element, Phase
from imagebuilder.plan.model import Plan

FORMAT = "1"  # part of every id: a change in what phases do on their own changes it
VOLATILE = re.compile(
    r"(TMPDIR|TMP_DIR|TMP_(BUILD|IMAGE)_DIR|TMP_(HOOKS|MOUNT)_PATH|HOME|PWD|OLDPWD|SHLVL|_|_LIB|USER|LOGNAME|SHELL|TERM|COLORTERM|MAIL|LANG|PATH"
    r"|(SSH|XDG|DBUS|SUDO|LS|LESS|GPG|PIP|VIRTUAL|PYTHON|PYTEST|CI|TMUX)(_\w+|OPEN|CLOSE)?"
    r"|\w+_proxy|\w+_PROXY|DISPLAY|EDITOR|PAGER|HOSTNAME|INVOCATION_ID|JOURNAL_STREAM"
    r"|DIB_(QUIET|NO_TIMESTAMP|DEBUG_TRACE|NO_TMPFS|MIN_TMPFS|IMAGE_CACHE|LOCKFILES|OFFLINE"
    r"|CHECKSUM|PYTHON_EXEC|IMAGE_SIZE|IMAGE_EXTRA_SIZE|ARGS|ENV)|OVERWRITE_OLD_IMAGE|IMAGEBUILDER_HOOK_TIMEOUT)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepId:
    """A phase's place in the chain: its id, and the inputs that make it, in order."""

    phase: str
    id: str
    inputs: Mapping[str, str]


def chain(plan: Plan) -> tuple[StepId, ...]:
    """The ids of the phases that have something to do, each built on the one before."""
    steps: list[StepId] = []
    previous = FORMAT
    files = dict(_files(plan))
    for phase in PHASES:
        if not plan.draft.tree.of(phase.name) and not _extra(plan, phase):
            continue
        inputs = dict(sorted(_inputs(plan, phase, files)))
        previous = identify(previous, inputs)
        steps.append(StepId(phase=phase.name, id=previous, inputs=inputs))
    return tuple(steps)


def root(plan: Plan, fingerprints: Mapping[str, str]) -> StepId | None:
    """The id of the tree that root.d makes, if all that it depends on is known, else None.

    `fingerprints` are the digests of what the elements' fingerprint.d printed. Only what the
    elements with hooks in root.d have and declare counts, so that images can share the tree.
    """
    hooks = plan.draft.tree.of("root")
    elements = [e for e in plan.draft.elements if e.name in {hook.element for hook in hooks}]
    if not elements or not all(element.cacheable for element in elements):
        return None
    inputs = {
        "architecture": plan.request.arch,
        "packages of the bootstrap": " ".join(plan.early),
        **{f"fingerprint {name}": digest for name, digest in fingerprints.items()},
        **dict(_files_of(plan, elements)),
        **dict(_variables_of(plan, elements)),
    }
    return StepId(phase="root", id=identify(FORMAT, inputs), inputs=dict(sorted(inputs.items())))


def identify(previous: str, inputs: Mapping[str, str]) -> str:
    """The id of a step with these inputs after the step `previous`."""
    text = json.dumps([previous, sorted(inputs.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _inputs(plan: Plan, phase: Phase, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and values; values are short, and those of secrets cannot be read back."""
    yield "architecture", plan.request.arch
    yield from _file_inputs(phase, files)
    for name, value in plan.environment.items():
        if not VOLATILE.fullmatch(name):
            secret = value in plan.secrets
            yield f"variable {name}", _digest(value.encode()) if secret else value
    if phase.name == "cleanup":  # where the manifests are written
        yield "command line", plan.environment["DIB_ARGS"]
    yield from _package_inputs(plan, phase)


def _file_inputs(phase: Phase, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    others = tuple(f"{other.directory}/" for other in PHASES if other != phase)
    for name, digest in files.items():
        if name.startswith(f"{phase.directory}/"):
            yield f"hook {name}", digest
        elif not name.startswith(others):
            yield f"file {name}", digest


def _package_inputs(plan: Plan, phase: Phase) -> Iterator[tuple[str, str]]:
    change = plan.packages.get(phase.name)
    for verb in ("install", "uninstall") if change else ():
        yield f"packages to {verb}", " ".join(n for r in getattr(change, verb) for n in r.names)
    if phase.name == "root":
        yield "packages of the bootstrap", " ".join(plan.early)
    if _extra(plan, phase):
        yield "packages of -p", " ".join(plan.request.packages)


def _extra(plan: Plan, phase: Phase) -> bool:
    return phase.name == "install" and bool(plan.request.packages)


def _files_of(plan: Plan, elements: Iterable[Element]) -> Iterator[tuple[str, str]]:
    homes = tuple(element.path for element in elements)
    for name, source in plan.draft.tree.files.items():
        sourced = name.startswith("environment.d/")
        if sourced or any(source.is_relative_to(home) for home in homes):
            yield f"file {name}", _digest(_content(source))


def _variables_of(plan: Plan, elements: Iterable[Element]) -> Iterator[tuple[str, str]]:
    declared = {variable.name for element in elements for variable in element.variables}
    for name in sorted(declared | {"DISTRO_NAME", "SOURCE_DATE_EPOCH"}):
        value = plan.environment.get(name, "")
        secret = value in plan.secrets
        yield f"variable {name}", _digest(value.encode()) if secret else value


def _files(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every file of the merged tree with the digest of its mode and content."""
    for name, source in sorted(plan.draft.tree.files.items()):
        yield name, _digest(_content(source))


def _content(source: Path) -> bytes:
    if source.is_symlink():
        return b"symlink " + bytes(source.readlink())
    executable = bool(source.stat().st_mode & 0o111)
    return (b"program " if executable else b"data ") + source.read_bytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""Elements as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Where(Enum):
    """Where a phase's hooks run."""

    HOST = "host"
    TARGET = "chroot"


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    where: Where

    @property
    def directory(self) -> str:
        return f"{self.name}.d"


PHASES = (
    Phase("root", Where.HOST),
    Phase("extra-data", Where.HOST),
    Phase("pre-install", Where.TARGET),
    Phase("install", Where.TARGET),
    Phase("post-install", Where.TARGET),
    Phase("post-root", Where.HOST),
    Phase("block-device", Where.HOST),
    Phase("pre-finalise", Where.HOST),
    Phase("finalise", Where.TARGET),
    Phase("cleanup", Where.HOST),
)
# After the others, and only where a medium (a CD) is made of the tree.
MEDIUM_PHASES = (
    Phase("media", Where.HOST),
    Phase("initrd", Where.HOST),
)
ALL_PHASES = (*PHASES, *MEDIUM_PHASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that an element declares in its `element.yaml`."""

    name: str
    type: str = "string"  # string, boolean, integer, size, path, url, list, choice
    default: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    empty: bool = False  # an empty value is one, too; else it stands for the default
    secret: bool | None = None  # None: as its name sounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element, as found on ELEMENTS_PATH."""

    name: str
    path: Path
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    summary: str = ""
    variables: tuple[Variable, ...] = ()
    supports: tuple[str, ...] = ()  # distributions it is meant for; empty: any
    tags: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()  # hooks of others that its own of these names are in place of
    early_packages: bool = False  # its package lists may join the bootstrap's transaction
    attached_disk: bool = False  # its last hooks need the disk as block devices
    existing_disk: bool = False  # its builds change the disk that DIB_BASE_IMAGE names
    cacheable: bool = False  # its hooks follow from files, tree, variables and fingerprint.d


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program that a phase runs."""

    phase: str
    name: str
    element: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksTree:
    """The merged directories of all elements: where each file of TMP_HOOKS_PATH comes from.

    `files` maps a path relative to the merged tree to the file it is copied from, `directories`
    those below the elements' own to the directories whose modes they get; `hooks` are the
    programs each phase runs, in their order; `ignored` says which files of phase directories
    will not run, and why; `replaced` has pairs of hooks of one name where the first runs.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    directories: Mapping[str, Path] = field(default_factory=dict)
    hooks: tuple[Hook, ...] = ()
    environment: tuple[str, ...] = ()  # relative paths below environment.d, in sourcing order
    ignored: tuple[tuple[Path, str], ...] = ()
    replaced: tuple[tuple[Path, Path], ...] = ()

    def of(self, phase: str) -> tuple[Hook, ...]:
        """The hooks of one phase, in the order they run."""
        return tuple(hook for hook in self.hooks if hook.phase == phase)


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """One package that an element's package-installs asks for, by its own name."""

    name: str
    element: str
    names: tuple[str, ...]  # what the distribution calls it; may be several, or none


@dataclass(frozen=True, slots=True)
class PackageChange:
    """What one phase installs at its start and removes at its end."""

    install: tuple[PackageRequest, ...] = ()
    uninstall: tuple[PackageRequest, ...] = ()

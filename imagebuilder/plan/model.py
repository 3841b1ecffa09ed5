"""A build, decided: frozen, complete, and nothing done yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.disk.model import Disk
from imagebuilder.element.model import Element, HooksTree, PackageChange
from imagebuilder.options import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known before any `environment.d` file has run."""

    request: Request
    elements: tuple[Element, ...]
    tree: HooksTree
    disk: Disk
    disk_source: str  # the file or variable that the block-device document is from
    types: tuple[str, ...]  # the formats that will be made of those that were asked for
    variables: Mapping[str, str]  # what every hook's environment starts from
    attached: str = ""  # why the last phases have the disk as block devices; empty: they do not
    existing: Path | None = None  # the disk image that is changed; None: a new disk is made
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOutput:
    format: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a build will do."""

    draft: Draft
    environment: Mapping[str, str]  # the draft's variables and what environment.d made of them
    packages: Mapping[str, PackageChange]  # by phase
    early: tuple[str, ...]  # packages that join the bootstrap's transaction
    boot_loaders: tuple[str, ...]  # boot plugins that elements of the build ask for
    outputs: tuple[PlannedOutput, ...]
    secrets: frozenset[str]  # values never to be shown
    epoch: int  # SOURCE_DATE_EPOCH, in seconds
    warnings: tuple[str, ...] = ()

    @property
    def request(self) -> Request:
        return self.draft.request

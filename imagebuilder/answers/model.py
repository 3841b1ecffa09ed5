"""Answers and where they go, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Kind(Enum):
    """For which installer answers are."""

    PRESEED = "preseed"
    KICKSTART = "kickstart"
    AUTOINSTALL = "autoinstall"
    PROXMOX = "proxmox"


class Place(Enum):
    """Where the installer finds its answers."""

    INITRD = "initrd"
    MEDIUM = "medium"  # the root directory of the ISO image
    NETWORK = "network"  # a directory that a URL leads to
    PARTITION = "partition"  # of another disk, known by its label


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """Files that become sections of a kickstart file, in this order."""

    pre: tuple[Path, ...] = ()
    post: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Checked answers; `where` names them in errors, `remarks` are worth knowing."""

    kind: Kind
    where: str
    content: bytes
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What makes an installer use answers.

    `files` go to the place, by path; `medium` are files that the ISO image must have besides, and
    `needed` those that it must have already. The kernel is started with `arguments`.
    """

    place: Place
    files: tuple[tuple[str, bytes], ...]
    arguments: tuple[str, ...]
    medium: tuple[tuple[str, bytes], ...] = ()
    needed: tuple[str, ...] = ()

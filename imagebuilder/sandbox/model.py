"""What a sandbox is, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or directory of the host, made visible inside a root tree."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The view that a phase has of the world.

    With a `root`, that tree is its `/`; without one it sees the host's files, and the kernel's
    filesystems in the tree `furnish`. Both ways it has processes, mounts and host name of its
    own, and without `network` no network either. A command that runs longer than `deadline`
    seconds is ended (0: never).
    """

    root: Path | None = None
    furnish: Path | None = None
    binds: tuple[Bind, ...] = ()
    devices: tuple[str, ...] = ()  # of the host, by name in /dev, that a root's /dev has too
    links: tuple[tuple[str, str], ...] = ()  # symlinks in a root's /dev: name, destination
    network: bool = True
    deadline: float = 0.0

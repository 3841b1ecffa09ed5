"""The builder's own namespaces: whatever is mounted for a build is invisible to the host.

Root gets a mount namespace. Anybody else gets a user namespace as well, in which they are root
and own the range of ids that `/etc/subuid` gives them (`subuid(5)`, `newuidmap(1)`).
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from imagebuilder.errors import BuildError, ToolMissingError
from imagebuilder.process import Command, run
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.kernel import Mount, Namespace

WANTED = 65536  # ids that an ordinary root tree uses


def isolate() -> None:
    """Move this process into namespaces of its own; raise ToolMissingError if it may not."""
    try:
        if os.geteuid() != 0:
            _become_root()
        part()
    except OSError as error:
        raise ToolMissingError(
            f"not enough privilege: {error.strerror}",
            hint="run as root, or allow unprivileged user namespaces on this host",
        ) from error


def part() -> None:
    """Go on in another mount namespace; those who are left behind see nothing mounted from now on.

    Raise OSError if this process may not.
    """
    kernel.unshare(Namespace.MOUNT)
    kernel.mount("", "/", flags=Mount.PRIVATE | Mount.RECURSIVE)
    kernel.mount("", "/", flags=Mount.SHARED | Mount.RECURSIVE)


def detach_below(directory: Path, keep: Collection[Path] = ()) -> None:
    """Unmount everything that hooks have mounted below `directory`, but for what to `keep`."""
    for point in kernel.mounts_below(directory):
        if point != directory and point not in keep:
            with suppress(OSError):
                kernel.unmount(point)


def _become_root() -> None:
    """Enter a user namespace whose ids a helper, still outside, maps with newuidmap."""
    users = _ids("/etc/subuid", os.getuid())
    groups = _ids("/etc/subgid", os.getuid())
    builder, (turn, your_turn) = os.getpid(), os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(your_turn)
        os._exit(_map_ids(builder, turn, users, groups))
    kernel.unshare(Namespace.USER)
    os.close(turn)
    os.close(your_turn)
    if os.waitpid(mapper, 0)[1] != 0:
        raise ToolMissingError(
            "not enough privilege: newuidmap and newgidmap cannot map this user's ids",
            hint="run as root, or install uidmap ('imagebuilder doctor --install')",
        )
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map_ids(builder: int, turn: int, users: tuple[int, int], groups: tuple[int, int]) -> int:
    os.read(turn, 1)
    try:
        for program, own, (first, count) in (
            ("newuidmap", os.getuid(), users),
            ("newgidmap", os.getgid(), groups),
        ):
            ids = (0, own, 1, 1, first, count)
            run(Command((program, str(builder), *map(str, ids))))
    except BuildError:
        return 1
    return 0


def _ids(file: str, user: int) -> tuple[int, int]:
    names = {str(user), getpass.getuser()}
    lines = Path(file).read_text().splitlines() if Path(file).exists() else []
    for name, first, count in (line.split(":") for line in lines if line.count(":") == 2):
        if name in names and int(count) >= WANTED - 1:
            return int(first), min(int(count), WANTED - 1)
    ranges = "--add-subuids 100000-165535 --add-subgids 100000-165535"
    raise ToolMissingError(
        f"not enough privilege: no range of {WANTED} ids for this user in {file}",
        hint=f"run as root, or first (as root): usermod {ranges} {getpass.getuser()}",
    )

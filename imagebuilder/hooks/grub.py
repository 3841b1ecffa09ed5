"""GRUB's programs that look at devices, covered while hooks run and there is no disk to look at.

`update-grub` in a hook, or in a package's script, then makes the menu of the finished machine, by
whatever path it is called. The image's own programs are renamed rather than mounted over, so that a
package manager can still replace or remove them.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from imagebuilder import paths

PROBES = ("grub-probe", "grub-mkrelpath", "grub2-probe", "grub2-mkrelpath")
# In the tree: a hook has brought the boot loader itself.
INSTALLED = "/tmp/grub/install"  # ruff: ignore[hardcoded-temp-file]
INSTALLERS = ("grub-install", "grub2-install")
DIRECTORIES = ("/usr/sbin", "/usr/bin")  # one of which may be a symlink to the other
STAND_INS = Path(__file__).parents[1] / "lib/boot-loader"
OWN = ".own"


@contextmanager
def covered(tree: Path, programs: Iterable[str], filesystems: str) -> Generator[None, None, None]:
    """In the context, stand-ins are in the place of those programs that the tree has."""
    places = [f"{directory}/{name}" for directory in DIRECTORIES for name in programs]
    standing: dict[str, bytes] = {}
    try:
        for place in places:
            content = _stand_in(Path(place).name, filesystems)
            if paths.exists_in(tree, place) and paths.read_in(tree, place) != content:
                standing[place] = content
                paths.rename_in(tree, place, place + OWN)
                paths.write_in(tree, place, content, 0o755)
        yield
    finally:
        for place, content in standing.items():
            if paths.exists_in(tree, place) and paths.read_in(tree, place) == content:
                paths.rename_in(tree, place + OWN, place)
            paths.remove_in(tree, place + OWN)  # of what a package manager has replaced or removed


def _stand_in(name: str, filesystems: str) -> bytes:
    """The program, with what it has to know behind its first line."""
    first, rest = (STAND_INS / name.replace("grub2", "grub")).read_text().split("\n", maxsplit=1)
    return f"{first}\nfilesystems={shlex.quote(filesystems)} suffix={OWN}\n{rest}".encode()

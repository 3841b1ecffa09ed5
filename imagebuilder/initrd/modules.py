"""Kernel modules: whether one belongs to the kernel whose modules an initrd has.

The kernel refuses a module whose "vermagic" is not its own (`kernel/module/version.c`).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from imagebuilder.codec import table
from imagebuilder.codec.model import DamagedError, TruncatedError
from imagebuilder.errors import ConfigError
from imagebuilder.initrd import elf
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import Rootfs

HOME = "lib/modules"
SUFFIX = re.compile(r"\.ko(\.gz|\.xz|\.zst)?$")
SIGNED = b"~Module signature appended~\n"
SETUP = b"HdrS"  # Linux, Documentation/arch/x86/boot.rst


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What a module says of itself."""

    name: str
    vermagic: str
    depends: tuple[str, ...]
    signed: bool

    @property
    def release(self) -> str:
        """The release of the kernel that it was built for, as uname(1) has it."""
        return self.vermagic.partition(" ")[0]


def parse(content: bytes, where: str) -> Module:
    """Read a `.ko`, compressed or not; raise ConfigError if it is none."""
    try:
        plain = _plain(content)
        info = elf.section(plain, ".modinfo") if plain.startswith(elf.MAGIC) else b""
    except (DamagedError, TruncatedError) as error:
        raise ConfigError(f"a damaged kernel module: {error}", where=where) from error
    fields = dict(
        line.split("=", 1) for line in info.decode(errors="replace").split("\0") if "=" in line
    )
    if "vermagic" not in fields:
        raise ConfigError("not a kernel module", where=where)
    return Module(
        name=fields.get("name", normal(where.rpartition("/")[2])),
        vermagic=fields["vermagic"].strip(),
        depends=tuple(normal(name) for name in fields.get("depends", "").split(",") if name),
        signed=plain.endswith(SIGNED),
    )


def destination(root: Rootfs, content: bytes, where: str) -> str:
    """Where the module belongs in the initrd.

    Raise ConfigError if the initrd has no modules of its kernel, or some of another build of it.
    """
    module = parse(content, where)
    there = releases(root)
    if module.release not in there:
        shown = ", ".join(there) or "none"
        raise ConfigError(
            f"is for kernel {module.release}, the initrd has modules of {shown}", where=where
        )
    other = _beside(root, module.release)
    if other and other.vermagic != module.vermagic:
        raise ConfigError(
            f"is for a kernel '{module.vermagic}', the one of the initrd is '{other.vermagic}'",
            where=where,
        )
    return f"{HOME}/{module.release}/updates/{where.rpartition('/')[2]}"


def check_depends(root: Rootfs, added: Iterable[tuple[bytes, str]]) -> None:
    """Raise ConfigError if a new module needs one that is neither there nor new."""
    modules = [(parse(content, where), where) for content, where in added]
    new = {module.name for module, _ in modules}
    for module, where in modules:
        known = new | available(root, module.release)
        if missing := sorted(set(module.depends) - known):
            raise ConfigError(
                f"needs {', '.join(missing)}, not in the initrd",
                where=where,
                hint="add those modules too",
            )


def available(root: Rootfs, release: str) -> set[str]:
    """The names of the modules that the initrd has for a kernel, built-in ones included."""
    home = root.real(f"{HOME}/{release}")
    names = {normal(path.rpartition("/")[2]) for path in root.below(home) if SUFFIX.search(path)}
    builtin = root.files.get(f"{home}/modules.builtin")
    lines = builtin.content.decode(errors="replace").splitlines() if builtin else []
    return names | {normal(line.rpartition("/")[2]) for line in lines}


def releases(root: Rootfs) -> tuple[str, ...]:
    """The kernels that the initrd has modules for."""
    home = root.real(HOME)
    below = [path.removeprefix(f"{home}/").split("/")[0] for path in root.below(home)]
    return tuple(dict.fromkeys(below))


def kernel_release(kernel: bytes, where: str) -> str:
    """The release of an x86 kernel (bzImage), as uname(1) has it; raise ConfigError for others."""
    if kernel[0x202:0x206] != SETUP:
        raise ConfigError("is no Linux kernel for x86, whose release could be told", where=where)
    place = int.from_bytes(kernel[0x20E:0x210], "little") + 0x200
    text = kernel[place : place + 256].split(b"\0")[0]
    return text.decode(errors="replace").partition(" ")[0]


def normal(name: str) -> str:
    """A module's name by the name of its file."""
    return SUFFIX.sub("", name).replace("-", "_")


def entry(path: str, content: bytes, epoch: int) -> Entry:
    """A module as an entry."""
    return Entry(name=path, mode=stat.S_IFREG | 0o644, mtime=epoch, content=content)


def _beside(root: Rootfs, release: str) -> Module | None:
    home = root.real(f"{HOME}/{release}")
    paths = sorted(path for path in root.below(home) if SUFFIX.search(path))
    return parse(root.files[paths[0]].content, paths[0]) if paths else None


def _plain(content: bytes) -> bytes:
    codec = table.find(content, 0)
    return codec.unpack(content, 0).content if codec else content

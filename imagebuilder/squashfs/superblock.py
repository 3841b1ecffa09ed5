"""The first bytes of a squashfs image (Linux, `Documentation/filesystems/squashfs.rst`).

What an image was made with is read from them, so that a changed one is made with the same.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import given, magic
from imagebuilder.errors import ConfigError

LENGTH = 96
MAGIC = b"hsqs"
COMPRESSORS: Mapping[int, str] = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
EXPORTABLE, NO_XATTRS, OPTIONS = 0x80, 0x200, 0x400
FILTERS: Mapping[int, str] = {
    1: "x86", 2: "powerpc", 4: "ia64", 8: "arm", 16: "armthumb", 32: "sparc",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """How an image was made; `options` are those of its compressor, as tar2sqfs takes them."""

    compressor: str
    options: tuple[str, ...]
    block: int
    exportable: bool
    xattrs: bool
    inodes: int
    used: int


def load(path: Path) -> Superblock:
    """Read the superblock; raise ConfigError unless the file is a whole squashfs image."""
    where = str(path)
    try:
        given.check_file(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(magic.HEAD)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or ""
        raise ConfigError(what, where=where) from error
    return parse(head, size, where)


def parse(head: bytes, size: int, where: str) -> Superblock:
    """Read the first bytes of an image that has `size`; raise ConfigError as `load` does."""
    if not head.startswith(MAGIC):
        raise ConfigError(f"not a squashfs image (looks like {magic.describe(head)})", where=where)
    if len(head) < LENGTH:
        raise ConfigError(f"truncated: a superblock has {LENGTH} bytes", where=where)
    return _checked(head, size, where)


def _checked(head: bytes, size: int, where: str) -> Superblock:
    inodes, _, block, _, kind, _, flags, _, major, _ = struct.unpack_from("<IIIIHHHHHH", head, 4)
    (used,) = struct.unpack_from("<Q", head, 40)
    if major != 4:
        raise ConfigError(f"a squashfs image of version {major}, not 4", where=where)
    if used > size:
        what = f"truncated: the file system ends at byte {used}, the file has {size}"
        raise ConfigError(what, where=where)
    if kind not in COMPRESSORS:
        raise ConfigError(f"is compressed in an unknown way ({kind})", where=where)
    given = head[LENGTH + 2 : LENGTH + 10].ljust(8, b"\0") if flags & OPTIONS else b""
    return Superblock(
        compressor=COMPRESSORS[kind],
        options=_options(COMPRESSORS[kind], given),
        block=block,
        exportable=bool(flags & EXPORTABLE),
        xattrs=not flags & NO_XATTRS,
        inodes=inodes,
        used=used,
    )


def _options(compressor: str, given: bytes) -> tuple[str, ...]:
    """The compressor's options, where they are not the usual ones."""
    if not given:
        return ()
    first, second = struct.unpack_from("<II", given)
    if compressor == "gzip":
        return (f"level={first}", f"window={second & 0xFFFF}")
    if compressor == "xz":
        chosen = tuple(name for bit, name in FILTERS.items() if second & bit)
        return (f"dictsize={first}", *chosen)
    if compressor == "zstd":
        return (f"level={first}",)
    return ("hc",) if compressor == "lz4" and second & 1 else ()

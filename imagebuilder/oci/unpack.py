"""Makes the tree of an image: its layers one after the other, as the specification's "Applying".

It happens inside the tree, after chroot(2): so no symlink in a layer leads out of it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from imagebuilder.codec import zstd
from imagebuilder.codec.model import DamagedError
from imagebuilder.errors import ConfigError
from imagebuilder.oci.model import Blob, Image, Layer

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
XATTR = "SCHILY.xattr."
GZIP, ZSTD = b"\x1f\x8b", zstd.MAGIC
CHUNK = 1 << 20
DAMAGED = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, DamagedError, ValueError)


class Part(io.RawIOBase):
    """A part of a file, for reading from its beginning to its end."""

    def __init__(self, blob: Blob) -> None:
        self.file = blob.file.open("rb")
        self.file.seek(blob.start)
        self.left = blob.length

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override] # narrower
        """Fill the buffer as far as it goes; how far."""
        chunk = self.file.read(min(len(buffer), self.left))
        buffer[: len(chunk)] = chunk
        self.left -= len(chunk)
        return len(chunk)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        super().close()


class Digested(io.RawIOBase):
    """Passes bytes on and keeps their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override] # narrower
        """Fill the buffer as far as it goes; how far."""
        chunk = self.file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.digest.update(chunk)
        return len(chunk)


@dataclass
class Applied:
    """What one layer has made so far; whiteouts leave that alone."""

    paths: set[Path] = field(default_factory=set)
    directories: list[tarfile.TarInfo] = field(default_factory=list)


def unpack(image: Image, tree: Path) -> None:
    """Fill `tree`, and stay inside of it: this process sees nothing else from then on.

    Raise ConfigError if a layer is damaged, and OSError.
    """
    opened = [(layer, _open(layer.blob)) for layer in image.layers]
    os.chroot(tree)
    os.chdir("/")
    for number, (layer, content) in enumerate(opened, 1):
        try:
            _apply(layer, content)
        except DAMAGED as error:
            raise _damaged(number, str(error)) from error
        finally:
            content.close()


def _open(blob: Blob) -> BinaryIO:
    part = io.BufferedReader(Part(blob), CHUNK)
    head = part.peek(4)
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=part)  # type: ignore[return-value] # reads like one
    if head.startswith(ZSTD):
        return io.BytesIO(zstd.unpack(part.read(), 0).content)
    return part


def _apply(layer: Layer, content: BinaryIO) -> None:
    digested = Digested(content)
    applied = Applied()
    with tarfile.open(fileobj=io.BufferedReader(digested, CHUNK), mode="r|") as archive:
        for member in archive:
            _member(archive, member, applied)
    while digested.read(CHUNK):
        pass  # what follows the archive's end counts for the digest
    for directory in reversed(applied.directories):
        os.utime(directory.name, (directory.mtime, directory.mtime))
    if layer.content.startswith("sha256:") and digested.digest.hexdigest() != layer.content[7:]:
        raise ValueError("what it contains is not what its digest says")


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, applied: Applied) -> None:
    member.name = os.path.normpath(f"/{member.name}")
    path = Path(member.name)
    if member.islnk():
        member.linkname = os.path.normpath(f"/{member.linkname}")
    if path.name == OPAQUE:
        _remove(_lower(path.parent, applied))
    elif path.name.startswith(WHITEOUT):
        hidden = path.with_name(path.name.removeprefix(WHITEOUT))
        _remove([hidden] if hidden not in applied.paths else [])
    else:
        _make(archive, member, path)
        applied.paths.update((path, *path.parents))
        if member.isdir():
            applied.directories.append(member)


def _lower(directory: Path, applied: Applied) -> list[Path]:
    """What a directory has from earlier layers."""
    found = sorted(directory.iterdir()) if directory.is_dir() else []
    return [path for path in found if path not in applied.paths]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.resolve().mkdir(parents=True, exist_ok=True)
    stays = member.isdir() and path.is_dir() and not path.is_symlink()
    if not stays:
        _remove([path])
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.isreg():
        with archive.extractfile(member) as source, path.open("wb") as target:  # type: ignore[union-attr] # it is a file
            shutil.copyfileobj(source, target, CHUNK)
    elif member.islnk():
        os.link(member.linkname, path, follow_symlinks=False)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.isfifo():
        os.mkfifo(path)
    else:
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    if not member.islnk():
        _settle(member, path)


def _settle(member: tarfile.TarInfo, path: Path) -> None:
    """Owner, mode, time and attributes, in the order in which none takes back another."""
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR) and key != f"{XATTR}security.selinux":
            raw = value.encode("utf-8", "surrogateescape")
            os.setxattr(path, key.removeprefix(XATTR), raw, follow_symlinks=False)
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _damaged(number: int, what: str) -> ConfigError:
    return ConfigError(
        f"layer {number} of the container image is damaged: {what}",
        hint="copy or download the image again",
    )

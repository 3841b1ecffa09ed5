"""The commands that turn squashfs images into tar archives and back."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from imagebuilder import process
from imagebuilder.errors import CommandError, ConfigError, ToolMissingError
from imagebuilder.process import Command
from imagebuilder.squashfs.mend import mend
from imagebuilder.squashfs.superblock import Superblock

BUFFER = 2**18


def unpack(image: Path) -> Command:
    """The command that writes an image as a tar archive, its root included."""
    return Command(("sqfs2tar", "-r", ".", os.fspath(image)))


def extract(directory: Path) -> Command:
    """The command that writes the files of such an archive to a directory, owners included."""
    return Command((
        "tar", "--extract",
        "--file", "-",
        "--numeric-owner",
        "--same-permissions",
        "--xattrs", "--xattrs-include", "*",
        "--directory", os.fspath(directory),
    ))  # fmt: skip


def pack(image: Path, like: Superblock) -> Command:
    """The command that makes an image of a tar archive, with the options of another."""
    return Command((
        "tar2sqfs", "-q", "-f",
        "-c", like.compressor,
        *(("-X", ",".join(like.options)) if like.options else ()),
        "-b", str(like.block),
        *(["-e"] if like.exportable else []),
        *([] if like.xattrs else ["-x"]),
        os.fspath(image),
    ))  # fmt: skip


def check(like: Superblock, where: str) -> None:
    """Raise ToolMissingError if this host's tar2sqfs cannot compress as `like` is compressed."""
    known = offered() if process.find("tar2sqfs") else ()
    if known and like.compressor not in known:
        raise ToolMissingError(
            f"tar2sqfs does not know the compression {like.compressor!r} here",
            where=where,
            hint=f"it knows {', '.join(known)}; others are a matter of how it was built",
        )


def offered() -> tuple[str, ...]:
    """What tar2sqfs says that it can compress with; nothing if it uses other words for it."""
    try:
        said = process.run(Command(("tar2sqfs", "--help"))).output
    except CommandError:
        return ()
    listed = said.partition("block compressors:\n")[2].partition("\n\n")[0]
    return tuple(line.split()[0] for line in listed.splitlines() if line.strip())


@contextmanager
def members(image: Path) -> Generator[tarfile.TarFile, None, None]:
    """The image as an archive to be read from the beginning to the end."""
    with process.reading(unpack(image)) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|", bufsize=BUFFER) as archive:
                yield archive
        except tarfile.TarError as error:
            raise ConfigError(f"cannot be read: {error}", where=str(image)) from error
        while file.read(2**20):  # a program that cannot write any more would end with an error
            pass


@contextmanager
def unpacked(image: Path) -> Generator[IO[bytes], None, None]:
    """The image as an archive, in bytes; raise ConfigError if it cannot be read to its end."""
    with (
        process.reading(unpack(image)) as file,
        os.fdopen(os.dup(file.fileno()), "rb", BUFFER) as source,
    ):
        try:
            yield source
        except tarfile.TarError as error:
            raise ConfigError(f"cannot be read: {error}", where=str(image)) from error
        while source.read(BUFFER):  # a program that cannot write would end with an error
            pass


@contextmanager
def making(image: Path, like: Superblock) -> Generator[IO[bytes], None, None]:
    """What takes an archive that becomes an image; at its end the image is whole.

    Raise OSError (ENOSPC) if there is no room for it, which tar2sqfs calls an error like another.
    """
    try:
        with process.writing(pack(image, like)) as file:
            yield file
    except CommandError as error:
        room = os.statvfs(image) if image.exists() else None
        if room is None or room.f_bavail * room.f_frsize >= like.block:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(image)) from error
    mend(image)


@contextmanager
def packed(image: Path, like: Superblock) -> Generator[IO[bytes], None, None]:
    """What takes the bytes of an archive that becomes an image."""
    with making(image, like) as file:
        sink = io.BufferedWriter(io.FileIO(os.dup(file.fileno()), "wb"), BUFFER)
        try:
            yield sink
            sink.close()
        except BaseException:
            with suppress(OSError, ValueError):  # an archive that failed gets no end
                sink.detach().close()
            raise


@contextmanager
def writer(image: Path, like: Superblock) -> Generator[tarfile.TarFile, None, None]:
    """An archive whose members become an image."""
    with making(image, like) as file:
        valve = _Valve(file)
        with tarfile.open(
            fileobj=cast("IO[bytes]", valve),
            mode="w|",
            bufsize=BUFFER,
            format=tarfile.PAX_FORMAT,
        ) as archive:
            vars(archive)["copybufsize"] = BUFFER  # 16 KiB else; typeshed does not know it
            try:
                yield archive
            except BaseException:
                valve.open = False
                raise


class _Valve:
    """A file that takes nothing more once it is shut: an archive that failed gets no end."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.open = file, True

    def write(self, data: bytes, /) -> int:
        """Pass on what is written, unless shut."""
        return self.file.write(data) if self.open else len(data)


def name(member: tarfile.TarInfo) -> str:
    """A member's path without `./` in front; the root is empty."""
    return clean(member.name)


def clean(path: str) -> str:
    """A path without what leads nowhere."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def names(archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """All members with their clean paths."""
    return ((name(member), member) for member in archive)

"""Outputs appear under their final names whole or not at all.

A new file has no name while it is written (O_TMPFILE), so that a builder that is killed leaves
nothing. Where the filesystem cannot do that, it has a hidden name and a lock; the next builder
that finds such a name unlocked removes it. The final name is given by `rename(2)`, after the
file is on the disk, and an older file of that name goes on under another one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

from imagebuilder import holes
from imagebuilder.errors import BuildError, CommandError, ConfigError, SpaceError
from imagebuilder.formats import sparse
from imagebuilder.formats.model import Artefact, Output
from imagebuilder.sizes import Size

CHECKSUMS = ("md5", "sha256")
Known = Callable[[], Mapping[str, str]]  # digests by algorithm
NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A file on its way to `name` in the open directory `directory`."""

    fd: int
    directory: int
    name: str
    temporary: str

    @property
    def path(self) -> Path:
        """A path under which any program that we start can open the file."""
        return Path(f"/proc/{os.getpid()}/fd/{self.fd}")


def check(output: Output) -> None:
    """Raise ConfigError if nothing could ever be placed at the output's path."""
    path, parent = output.path, output.path.parent
    if not parent.is_dir():
        raise ConfigError(
            f"there is no directory {parent}", where=str(path), hint=f"mkdir -p {parent}"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"the directory {parent} cannot be written to", where=str(path))
    if path.exists() and not path.is_file() and not path.is_symlink():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise ConfigError(f"is {kind}", where=str(path), hint="choose another name for the output")


def place(output: Output, fill: Callable[[Path], object], needs: Callable[[], int]) -> Artefact:
    """Let `fill` write a new file, and put it under its final name with its checksum files.

    A `fill` that knows the digests gives them, by algorithm, or what waits for them; else they are
    worked out here. `needs` says how many bytes that may take at most, for the SpaceError if they
    are not there.
    """
    check(output)
    with (
        _directory(output.path.parent) as directory,
        _explained(output, directory, needs),
        _draft(directory, output.path.name) as draft,
    ):
        filled = fill(draft.path)
        if isinstance(filled, Mapping):
            return _publish(draft, output, lambda: filled)
        return _publish(draft, output, filled if callable(filled) else None)


def move(source: Path, output: Output, digests: Known | None = None) -> Artefact:
    """Put the file `source` under its final name; raise OSError (EXDEV) if it lies elsewhere.

    `digests`, if given, waits for those that somebody works out already.
    """
    check(output)
    with (
        _directory(output.path.parent) as directory,
        _adopted(directory, output.path.name, source) as draft,
        _explained(output, directory, lambda: 0),
    ):
        return _publish(draft, output, digests)


def rotated(name: str, moment: datetime) -> str:
    """The name under which an older file goes on, as diskimage-builder names it."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = name, ""
    return f"{stem}-{moment:%Y.%m.%d-%H.%M.%S}{dot}{extension}"


def checksum_line(digest: str, path: Path) -> str:
    """A line as `md5sum` and `sha256sum` write and check it (coreutils, "md5sum invocation")."""
    escaped = str(path).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != str(path) else ""
    return f"{mark}{digest}  {escaped}\n"


def _publish(draft: _Draft, output: Output, known: Known | None = None) -> Artefact:
    with ExitStack() as stack:
        known = known or stack.enter_context(sparse.digesting(draft.fd, output.checksums))
        work = (lambda: holes.digest(draft.fd)) if output.kept else str
        content = stack.enter_context(ThreadPoolExecutor(1)).submit(work)
        os.fsync(draft.fd)  # waits for the disk while others compute
        digests = known()
        lines = {kind: checksum_line(digest, output.path) for kind, digest in digests.items()}
        sidecars = [
            stack.enter_context(_sidecar(draft, kind, line)) for kind, line in lines.items()
        ]
        _name(draft)
        _retire(draft, overwrite=output.overwrite)
        for each in (draft, *sidecars):
            _rename(draft.directory, each.temporary, each.name)
        os.fsync(draft.directory)
        status = os.fstat(draft.fd)
        return Artefact(
            path=output.path,
            format=output.format,
            size=status.st_size,
            content=content.result(),
            modified=status.st_mtime_ns,
            digests=digests,
        )


@contextmanager
def _directory(path: Path) -> Generator[int, None, None]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _draft(directory: int, name: str) -> Generator[_Draft, None, None]:
    _sweep(directory, name)
    temporary = _temporary(name)
    with _locked(_new(directory, temporary), directory, temporary) as fd:
        yield _Draft(fd=fd, directory=directory, name=name, temporary=temporary)


@contextmanager
def _adopted(directory: int, name: str, source: Path) -> Generator[_Draft, None, None]:
    _sweep(directory, name)
    temporary = _temporary(name)
    with _locked(os.open(source, os.O_RDWR | os.O_NOFOLLOW), directory, temporary) as fd:
        os.rename(source, temporary, dst_dir_fd=directory)
        yield _Draft(fd=fd, directory=directory, name=name, temporary=temporary)


@contextmanager
def _sidecar(image: _Draft, kind: str, line: str) -> Generator[_Draft, None, None]:
    with _draft(image.directory, f"{image.name}.{kind}") as draft:
        draft.path.write_bytes(os.fsencode(line))
        os.fsync(draft.fd)
        _name(draft)
        yield draft


@contextmanager
def _locked(fd: int, directory: int, temporary: str) -> Generator[int, None, None]:
    try:
        with suppress(OSError):  # without locks (some network filesystems) nothing is swept either
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd
    finally:
        _remove(directory, temporary)
        os.close(fd)


@contextmanager
def _explained(
    output: Output, directory: int, needs: Callable[[], int]
) -> Generator[None, None, None]:
    where = str(output.path)
    try:
        yield
    except CommandError as error:
        if not any(os.strerror(number) in error.what for number in FULL):
            raise
        raise _full(where, directory, needs()) from error
    except OSError as error:
        if error.errno in FULL:
            raise _full(where, directory, needs()) from error
        what = f"cannot be written: {error.strerror or error}"
        raise BuildError(what, where=where) from error


def _full(where: str, directory: int, needed: int) -> SpaceError:
    free = os.fstatvfs(directory)
    room = Size(free.f_bavail * free.f_frsize)
    return SpaceError(
        f"no space left: up to {Size(needed)} ({needed} bytes) needed, {room} free",
        where=where,
        hint="make room there, or put the output somewhere else",
    )


def _new(directory: int, temporary: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(".", flags | os.O_TMPFILE, 0o666, dir_fd=directory)
    except OSError as error:
        if error.errno not in NO_TMPFILE:
            raise
    return os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory)


def _name(draft: _Draft) -> None:
    """Give the file its temporary name, unless it has one."""
    if os.fstat(draft.fd).st_nlink == 0:
        source = f"/proc/self/fd/{draft.fd}"
        os.link(source, draft.temporary, dst_dir_fd=draft.directory, follow_symlinks=True)


def _temporary(name: str) -> str:
    return f".{name}.partial-{secrets.token_hex(4)}"


def _sweep(directory: int, name: str) -> None:
    """Remove what builders that no longer live left of this output."""
    leftover = re.compile(rf"\.{re.escape(name)}\.partial-[0-9a-f]{{8}}")
    for entry in filter(leftover.fullmatch, os.listdir(directory)):
        with suppress(OSError):  # it is in use, or somebody else's
            fd = os.open(entry, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry, dir_fd=directory)
            finally:
                os.close(fd)


def _retire(draft: _Draft, *, overwrite: bool) -> None:
    """Keep an older file under another name; its checksums must not seem to be the new one's."""
    older = "" if overwrite else _kept(draft.directory, draft.name)
    for kind in CHECKSUMS:
        if older:
            with suppress(FileNotFoundError):
                _rename(draft.directory, f"{draft.name}.{kind}", f"{older}.{kind}")
        else:
            _remove(draft.directory, f"{draft.name}.{kind}")


def _kept(directory: int, name: str) -> str:
    """Link the older file to a free name, and say which; empty if there is no older file."""
    now = datetime.now().astimezone()
    for seconds in count():
        older = rotated(name, now + timedelta(seconds=seconds))
        try:
            _link(directory, name, older)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return ""
        return older
    return ""


def _link(directory: int, name: str, older: str) -> None:
    try:
        os.link(name, older, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except PermissionError:  # a filesystem without hard links; the name is free for a moment
        _rename(directory, name, older)


def _rename(directory: int, name: str, other: str) -> None:
    os.rename(name, other, src_dir_fd=directory, dst_dir_fd=directory)


def _remove(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)

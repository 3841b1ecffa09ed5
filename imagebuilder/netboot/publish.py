"""A set put where servers read it: a directory of its own, and then one symlink switched.

A server that opens `current/...` has either all of the old set or all of the new one. The name of
a set follows from what is in it, so that publishing the same again changes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.errors import ConfigError, PublishError, SpaceError
from imagebuilder.netboot.model import Content, Set
from imagebuilder.sizes import Size

CURRENT, SETS, MANIFEST = "current", "sets", "manifest.json"
DRAFT = ".new-"
CHUNK = 2**20
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of a set: its directory, whether that is new, and the old ones that are gone."""

    path: Path
    new: bool
    pruned: tuple[str, ...] = ()


def check(root: Path) -> None:
    """Raise ConfigError if no set could be published at `root`."""
    if root.exists() and not root.is_dir():
        raise ConfigError("is not a directory", where=str(root))
    if not root.exists() and not root.parent.is_dir():
        hint = f"mkdir -p {root.parent}"
        raise ConfigError(f"there is no directory {root.parent}", where=str(root), hint=hint)
    current = root / CURRENT
    if current.exists() and not current.is_symlink():
        what = f"{CURRENT} in it is no symlink, so nothing can be published there"
        raise ConfigError(what, where=str(root))


def publish(wanted: Set, root: Path, *, keep: int) -> Published:
    """Write the set below `root`, switch to it, and keep so many of the older ones.

    Raise SpaceError without room, PublishError if it cannot be written; nothing is switched then.
    """
    check(root)
    try:
        (root / SETS).mkdir(parents=True, exist_ok=True)
        with _locked(root):
            _sweep(root)
            _check_room(wanted, root)
            name, new = _written(wanted, root)
            _switch(root, name)
            return Published(
                path=root / SETS / name, new=new, pruned=_pruned(root, name, keep=keep)
            )
    except OSError as error:
        if error.errno in FULL:
            raise SpaceError("there is no room left", where=str(root)) from error
        place = str(error.filename or root)
        raise PublishError(f"cannot be written: {error.strerror}", where=place) from error


def current(root: Path) -> Path:
    """The set that is served; raise ConfigError if there is none."""
    path = root / CURRENT
    if not (path / MANIFEST).is_file():
        hint = "imagebuilder netboot publish makes one"
        raise ConfigError("holds no published set", where=str(root), hint=hint)
    return path.resolve()


def manifest(directory: Path) -> Mapping[str, object]:
    """What a set says of itself."""
    try:
        value = json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError("is damaged", where=str(directory / MANIFEST)) from error
    if not isinstance(value, dict):
        raise ConfigError("is damaged", where=str(directory / MANIFEST))
    return value


def size(content: Content) -> int:
    """How many bytes a file of a set has."""
    return content.stat().st_size if isinstance(content, Path) else len(content)


@contextmanager
def _locked(root: Path) -> Generator[None, None, None]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sweep(root: Path) -> None:
    """Remove what a publisher that was killed has left."""
    for path in (root / SETS).glob(f"{DRAFT}*"):
        shutil.rmtree(path)


def _check_room(wanted: Set, root: Path) -> None:
    needed = sum(size(content) for content in wanted.files.values())
    free = shutil.disk_usage(root).free
    if needed > free:
        what = f"the set takes {Size(needed)}, there are {Size(free)} left"
        raise SpaceError(what, where=str(root))


def _written(wanted: Set, root: Path) -> tuple[str, bool]:
    """The name of the set, and whether it was not there yet."""
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=root / SETS))
    try:
        rows = [_file(draft, path, content) for path, content in wanted.files.items()]
        text = json.dumps({**wanted.manifest, "files": rows}, indent=2) + "\n"
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        final = root / SETS / name
        if final.exists():
            os.utime(final)
            return name, False
        (draft / MANIFEST).write_text(text)
        (draft / MANIFEST).chmod(0o644)
        draft.chmod(0o755)
        draft.rename(final)
        return name, True
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _file(draft: Path, path: str, content: Content) -> dict[str, object]:
    target = draft / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, length = hashlib.sha256(), 0
    with target.open("wb") as file:
        for piece in _pieces(content):
            file.write(piece)
            digest.update(piece)
            length += len(piece)
        file.flush()
        os.fsync(file.fileno())
    target.chmod(0o644)
    return {"path": path, "size": length, "sha256": digest.hexdigest()}


def _pieces(content: Content) -> Generator[bytes, None, None]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(content)) from error


def _switch(root: Path, name: str) -> None:
    temporary = root / f".{CURRENT}.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(f"{SETS}/{name}")
    temporary.rename(root / CURRENT)


def _pruned(root: Path, name: str, *, keep: int) -> tuple[str, ...]:
    others = [path for path in (root / SETS).iterdir() if path.name != name]
    others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    for path in others[keep:]:
        shutil.rmtree(path)
    return tuple(path.name for path in others[keep:])


def switch(root: Path, name: str) -> Path:
    """Serve another set that was kept; raise ConfigError if there is none of that name."""
    there = sorted(path.name for path in (root / SETS).glob("*"))
    if name not in there:
        hint = f"there are: {', '.join(there)}" if there else ""
        raise ConfigError(f"there is no set {name!r}", where=str(root), hint=hint)
    try:
        with _locked(root):
            _switch(root, name)
    except OSError as error:
        raise PublishError(f"cannot be written: {error.strerror}", where=str(root)) from error
    return root / SETS / name

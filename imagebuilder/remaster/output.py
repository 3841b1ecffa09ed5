"""Where a changed file goes: never over its source, and whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import given
from imagebuilder.errors import ConfigError
from imagebuilder.formats import place
from imagebuilder.formats.model import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The new file; `force` allows it to replace an older one."""

    path: Path
    force: bool = False


def check(source: Path, target: Target) -> None:
    """Raise ConfigError if the source cannot be read, or the target is not to be written."""
    if not source.exists():
        raise ConfigError("no such file", where=str(source))
    if source.is_dir():
        raise ConfigError("is a directory", where=str(source))
    if target.path.exists() and target.path.samefile(source):
        raise ConfigError("is the source, which is never changed", where=str(target.path))
    free(target)


def free(target: Target) -> None:
    """Raise ConfigError if the target is not to be written."""
    if target.path.exists() and not target.force:
        raise ConfigError("exists already", where=str(target.path), hint="--force replaces it")
    place.check(_output(target))


def empty(directory: Path) -> Path:
    """The directory, made if it is not there; raise ConfigError if anything is in it."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError("is not an empty directory", where=str(directory))
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=str(directory)) from error
    return directory


def read(source: Path) -> bytes:
    """The whole file; raise ConfigError if it cannot be read."""
    try:
        return given.read(source)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or ""
        raise ConfigError(what, where=str(source)) from error


def write(target: Target, content: bytes) -> None:
    """Put the content under the target's name; raise SpaceError if there is no room."""
    place.place(_output(target), lambda path: _fill(path, content), lambda: len(content))


def made(target: Target, fill: Callable[[Path], object], needs: int) -> None:
    """Let `fill` write the file, which takes up to `needs` bytes, and give it its name."""
    place.place(_output(target), lambda path: _filled(fill, path), lambda: needs)


def _filled(fill: Callable[[Path], object], path: Path) -> None:
    fill(path)


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _output(target: Target) -> Output:
    return Output(path=target.path, format="", overwrite=True)

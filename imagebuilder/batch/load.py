"""Files that describe images: read, checked, merged, and turned into command lines.

The format, how entries of one name merge and the order of a command line's words are those of
diskimage-builder's program `diskimage-builder`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagebuilder import schema
from imagebuilder.errors import ConfigError
from imagebuilder.options import OPTIONS, Kind

SCHEMA = "batch/schemas/images.json"
DEFAULT_NAME = "image"
PROGRAM, RAMDISK_PROGRAM = "disk-image-create", "ramdisk-image-create"
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of a file, as a command line and its environment; `where` its first entry is."""

    name: str
    where: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ramdisk: bool = False

    def __str__(self) -> str:
        """The command line for a shell, like diskimage-builder prints it."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        program = RAMDISK_PROGRAM if self.ramdisk else PROGRAM
        return " ".join((*variables, program, *map(shlex.quote, self.words)))


def load(files: Sequence[Path]) -> tuple[Image, ...]:
    """The images of all files, in the order of their first entries; raise ConfigError.

    Entries of one name are one image, wherever they are. An entry without a name goes on with
    the image of the one before.
    """
    merged: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    name = DEFAULT_NAME
    for document in map(schema.read, files):
        for number, entry in enumerate(schema.check(document, SCHEMA)):
            name = entry.get("imagename", name)
            places.setdefault(name, document.place((number,)))
            _merge(merged.setdefault(name, {}), entry)
    if not merged:
        raise ConfigError("there is no image in it", where=", ".join(map(str, files)))
    return tuple(_image(name, entry, places[name]) for name, entry in merged.items())


def _merge(into: dict[str, Any], entry: Values) -> None:
    """Lists grow, mappings take what is new, and anything else is replaced."""
    for key, value in entry.items():
        if isinstance(value, list):
            into[key] = [*into.get(key, ()), *value]
        elif isinstance(value, dict):
            into[key] = {**into.get(key, {}), **value}
        else:
            into[key] = value


def _image(name: str, entry: Values, where: str) -> Image:
    words = (word for key, flag, show in KEYS if key in entry for word in show(flag, entry[key]))
    return Image(
        name=name,
        where=where,
        words=tuple(words),
        environment=entry.get("environment", {}),
        ramdisk=entry.get("ramdisk", False),
    )


def _text(flag: str, value: str) -> tuple[str, ...]:
    return (flag, value) if value else ()


def _number(flag: str, value: int) -> tuple[str, ...]:
    return (flag, str(int(value)))  # 2.0 is a whole number in a schema's eyes


def _switch(flag: str, value: bool) -> tuple[str, ...]:  # ruff: ignore[boolean-type-hint-positional-argument] - the value of a key
    return (flag,) if value else ()


def _repeated(flag: str, value: int) -> tuple[str, ...]:
    return (flag,) * int(value)


def _listed(flag: str, value: list[str]) -> tuple[str, ...]:
    return (flag, ",".join(value)) if value else ()


def _pairs(flag: str, value: Mapping[str, str]) -> tuple[str, ...]:
    return _listed(flag, [f"{key}={each}" for key, each in value.items()])


def _plain(flag: str, value: list[str]) -> tuple[str, ...]:
    del flag
    return tuple(value)


SHOWN: Mapping[Kind, Callable[[str, Any], tuple[str, ...]]] = {
    Kind.FLAG: _switch,
    Kind.COUNT: _repeated,
    Kind.WORDS: _listed,
    Kind.GIB: _number,
    Kind.MIB: _number,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
}
# The order of the words of a command line, which is diskimage-builder's.
ORDER = (
    "imagename", "arch", "types", "debug-trace", "uncompressed", "clear", "logfile", "checksum",
    "image-size", "image-extra-size", "image-cache", "max-online-resize", "min-tmpfs",
    "mkfs-journal-size", "mkfs-options", "no-tmpfs", "offline", "qemu-img-options", "root-label",
    "ramdisk-element", "install-type", "docker-target", "packages", "skip-base",
)  # fmt: skip


def _keys() -> Iterator[tuple[str, str, Callable[[str, Any], tuple[str, ...]]]]:
    options = {option.key: option for option in OPTIONS if option.key}
    for key in ORDER:
        option = options[key]
        show = _pairs if key == "qemu-img-options" else SHOWN[option.kind]
        yield key, f"--{option.long}" if option.long else f"-{option.short}", show
    yield "elements", "", _plain


KEYS = tuple(_keys())

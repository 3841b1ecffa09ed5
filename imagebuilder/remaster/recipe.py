"""A recipe: what is to be different in an ISO image, as a file.

Each of its keys is an option of `imagebuilder iso remaster`, and a recipe is read as a command
line. So there is nothing that only one of the two can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagebuilder import schema
from imagebuilder.errors import ConfigError

SCHEMA = "remaster/schemas/recipe.json"
NESTED = ("initrd", "test")
FILES = (  # values that name files here
    "output", "tree", "patch", "module", "keep", "diff", "answers", "answers-pre", "answers-post",
    "deb",
)  # fmt: skip
WISHES = ("add", "append", "program")  # values like SOURCE:PATH
REFERENCE = {"initrd-path": "initrd"}  # options that are not named as their key is


def load(path: Path) -> list[str]:
    """The command line that a recipe stands for; raise ConfigError with file, line and column.

    Files are looked for from the recipe's directory.
    """
    value: Mapping[str, Any] = schema.check(schema.read(path), SCHEMA)
    if not value:
        raise ConfigError("is empty", where=str(path))
    base = path.parent
    source = [str(base / value["source"])] if "source" in value else []
    return source + [word for words in _words(value, base) for word in words]


def _words(value: Mapping[str, Any], base: Path) -> Iterator[list[str]]:
    for key, given in value.items():
        if key == "source":
            continue
        if key in NESTED:
            for inner, wanted in given.items():
                yield from _option(f"{key}-{inner}", inner, wanted, base)
        elif key == "squashfs":
            for image, changes in given.items():
                yield from _of_root(image, changes, base)
        else:
            yield from _option(key, key, given, base)


def _of_root(image: str, changes: Mapping[str, Any], base: Path) -> Iterator[list[str]]:
    for key, wanted in changes.items():
        for option, *words in _option(f"squashfs-{key}", key, wanted, base):
            yield [option, image, *words]


def _option(name: str, key: str, given: Any, base: Path) -> Iterator[list[str]]:
    option = f"--{REFERENCE.get(name, name)}"
    if isinstance(given, bool):
        yield from [[option]] * given
        return
    for each in given if isinstance(given, list) else [given]:
        words = each if isinstance(each, list) else [str(each)]
        if key in FILES or key in WISHES:
            words = [word if word.startswith("/") else f"{base}/{word}" for word in words]
        if len(words) == 1 and words[0].startswith("-"):
            yield [f"{option}={words[0]}"]
        else:
            yield [option, *words]

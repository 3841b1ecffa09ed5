"""Element directories as values: which there are, and what each says about itself.

Names are checked here, before they become paths, so that no element can name a file outside
the directories of ELEMENTS_PATH.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from imagebuilder import given, schema
from imagebuilder.element.environment import violation
from imagebuilder.element.model import Element, Variable
from imagebuilder.errors import ConfigError, ElementError

REPLACED = (("diskimage_builder", "elements"), ("diskimage-builder", "elements"))
NOT_ELEMENTS = ("tests", "__pycache__")


@cache
def builtin() -> Path:
    """The directory of the elements that come with us; raise ConfigError if there is none."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "elements", package.parent / "elements"):
        if place.is_dir():
            return place.resolve()
    raise ConfigError(
        "the elements that belong to this program are missing",
        where=str(package / "elements"),
        hint="install imagebuilder again",
    )


def is_ours(element: Element) -> bool:
    """Whether the element came with us, and so works as we know of an element of its name."""
    return element.path.resolve().is_relative_to(builtin())


def search_path(elements_path: str) -> tuple[Path, ...]:
    """The directories of a colon list like ELEMENTS_PATH, our own last; raise ConfigError.

    An entry for diskimage-builder's own elements stands for ours where they are not installed.
    """
    entries = [Path(entry).absolute() for entry in elements_path.split(":") if entry]
    paths = [path for path in entries if path.exists() or path.parts[-2:] not in REPLACED]
    for path in paths:
        if not path.is_dir():
            raise ConfigError(
                f"{str(path)!r} is not a directory",
                where="ELEMENTS_PATH",
                hint="it is a list of directories of elements, with colons between them",
            )
    ours = builtin()
    known = {path.resolve() for path in paths}
    return (*paths, ours) if ours.resolve() not in known else tuple(paths)


def index(paths: Iterable[Path]) -> Mapping[str, Path]:
    """All elements by name, sorted; those in earlier directories hide those in later ones."""
    return {name: found[0] for name, found in sorted(_candidates(paths).items())}


def overridden(paths: Iterable[Path]) -> tuple[tuple[Path, Path], ...]:
    """Pairs of directories of one element's name, where the first hides the second."""
    return tuple(
        pair
        for _, found in sorted(_candidates(paths).items())
        for pair in itertools.pairwise(found)
    )


def load(path: Path) -> Element:
    """The element in the directory at `path`; raise ElementError or ConfigError.

    Beside `element-deps` and `element-provides` it may describe itself in `element.yaml`.
    """
    about = schema.Document(str(path), {}, None)
    if (path / "element.yaml").exists():
        about = schema.read(path / "element.yaml")
        schema.check(about, "element/schemas/element.json")
    value = about.value or {}
    return Element(
        name=path.resolve().name,
        path=path,
        depends=_names(path / "element-deps"),
        provides=provides(path),
        summary=value.get("summary", ""),
        variables=_variables(about, value.get("variables", {})),
        supports=tuple(value.get("supports", ())),
        tags=tuple(value.get("tags", ())),
        replaces=_replaces(path, about, value.get("replaces", ())),
        early_packages=value.get("early-packages", False),
        attached_disk=value.get("attached-disk", False),
        existing_disk=value.get("existing-disk", False),
        cacheable=value.get("cacheable", False),
    )


def provides(path: Path) -> tuple[str, ...]:
    """The names in the `element-provides` of the element at `path`; raise ElementError."""
    return _names(path / "element-provides")


def check_name(name: str, *, where: str) -> None:
    """Raise ElementError unless `name` can be an element's, and so a directory's."""
    for pattern, complaint in NAME_COMPLAINTS:
        if re.search(pattern, name):
            raise ElementError(
                f"{name!r} is not the name of an element: it {complaint}",
                where=where,
                hint="one name in a line, and nothing else",
            )


NAME_COMPLAINTS = (
    (r"\A\Z", "is empty"),
    (r"\A#", "looks like a comment"),
    (r"[\s\x00-\x1f\x7f]", "has white space or control characters in it"),
    (r"/", "has a '/' in it"),
    (r"\A-", "begins with '-'"),
    (r"\A\.", "begins with '.'"),
)


def _candidates(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        for name, directory in _elements_in(path).items():
            others = found.setdefault(name, [])
            if directory not in others:
                others.append(directory)
    return found


def _elements_in(path: Path) -> dict[str, Path]:
    """The elements directly in `path`, each with the name of the directory it really is."""
    try:
        entries = [(entry.name, entry.resolve()) for entry in path.iterdir() if entry.is_dir()]
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    found: dict[str, Path] = {}
    for name, real in sorted(entries, key=lambda entry: (entry[0] != entry[1].name, entry[0])):
        if _is_element(name) and _is_element(real.name):
            found.setdefault(real.name, real)
    return found


def _is_element(name: str) -> bool:
    return bool(name) and name not in NOT_ELEMENTS and not name.startswith(".")


def _names(path: Path) -> tuple[str, ...]:
    names = {}
    for number, line in enumerate(_read(path).split("\n"), 1):
        name = line.strip()
        if name and name not in names:
            check_name(name, where=f"{path}:{number}")
            names[name] = number
    return tuple(names)


def _read(path: Path) -> str:
    try:
        return given.read_text(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ElementError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ElementError("is not UTF-8 text", where=str(path)) from error


def _variables(about: schema.Document, declared: Mapping[str, Any]) -> tuple[Variable, ...]:
    found = []
    for name, value in sorted(declared.items()):
        variable = _variable(name, value or {})
        complaint = violation(variable, variable.default) if variable.default else ""
        if complaint:
            raise ElementError(
                f"the default of {name}, {variable.default!r}, is not {complaint}",
                where=about.place(("variables", name, "default")),
            )
        found.append(variable)
    return tuple(found)


def _variable(name: str, value: Mapping[str, Any]) -> Variable:
    return Variable(
        name=name,
        type=value.get("type", "string"),
        default=_text(value.get("default", "")),
        help=value.get("help", ""),
        choices=_texts(value.get("choices", ())),
        required=value.get("required", False),
        empty=value.get("empty", False),
        secret=value.get("secret"),
    )


def _replaces(path: Path, about: schema.Document, names: Sequence[str]) -> tuple[str, ...]:
    for number, name in enumerate(names):
        if not (path / name).exists():
            raise ElementError(
                f"the element has no {name} to replace another's with",
                where=about.place(("replaces", number)),
                hint="write the hook, which may be one that does nothing",
            )
    return tuple(names)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _text(value: str | bool | int) -> str:  # ruff: ignore[boolean-type-hint-positional-argument] - YAML's
    """As the shell has it: hooks compare with 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)

"""Elements and what they depend on, for scripts that ask diskimage-builder."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Sequence

import yaml

from imagebuilder.element import load, resolve
from imagebuilder.errors import ConfigError, ElementError

MissingElementException = AlreadyProvidedException = MissingOSException = ElementError
InvalidElementDir = ConfigError


def get_elements(elements: Iterable[str], paths: str | None = None) -> list[tuple[str, str]]:
    """Names and directories of the elements and of all they depend on.

    `paths` is a list like ELEMENTS_PATH, which counts without it. Raise ElementError or
    ConfigError.
    """
    search = load.search_path(paths or os.environ.get("ELEMENTS_PATH", ""))
    found = resolve.resolve(tuple(elements), load.index(search))
    return [(element.name, str(element.path)) for element in found]


def expand_dependencies(user_elements: Iterable[str], element_dirs: str) -> set[str]:
    """The names alone."""
    return {name for name, _ in get_elements(user_elements, element_dirs)}


def main(words: Sequence[str] | None = None) -> int:
    """The program `element-info.py`: names, or shell text that sets them."""
    parser = argparse.ArgumentParser(description="Names elements with all they depend on.")
    parser.add_argument("elements", nargs="+")
    parser.add_argument("-e", "--env", action="store_true", help="print text for a shell to eval")
    given = parser.parse_args(words)
    try:
        found = get_elements(given.elements)
    except (ConfigError, ElementError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = " ".join(name for name, _ in found)
    print(_shell(names, found) if given.env else names)
    return 0


def _shell(names: str, found: list[tuple[str, str]]) -> str:
    pairs = " ".join(f"[{name}]={path}" for name, path in found)
    mapping = yaml.safe_dump(dict(found))
    return "\n".join((
        f"export IMAGE_ELEMENT={shlex.quote(names)}",
        f"export IMAGE_ELEMENT_YAML={shlex.quote(mapping)}",
        "function get_image_element_array {",
        f"  echo {shlex.quote(pairs)}",
        "};",
        "export -f get_image_element_array;",
    ))  # fmt: skip

"""The files in which elements say something: how strictly each is taken.

diskimage-builder passes over keys that it does not know, and takes the last of several equal
ones. So do we, with a warning, for the elements that were written for it; those with an
`element.yaml` were written for us, and a mistake in them is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from imagebuilder import schema
from imagebuilder.element.model import Element
from imagebuilder.schema import Document

SCHEMAS = {
    "package-installs.json": "element/schemas/package-installs.json",
    "package-installs.yaml": "element/schemas/package-installs.json",
    "pkg-map": "element/schemas/pkg-map.json",
    "svc-map": "element/schemas/svc-map.json",
}


def read(path: Path) -> Document:
    """The checked document in an element's file; raise ConfigError."""
    return _read(path)[0]


def remarks(elements: Iterable[Element]) -> tuple[str, ...]:
    """What is passed over in the files of the elements, a line each."""
    files = (element.path / name for element in elements for name in SCHEMAS)
    return tuple(line for file in files if file.is_file() for line in _read(file)[1])


def _read(path: Path) -> tuple[Document, tuple[str, ...]]:
    strict = (path.parent / "element.yaml").exists()
    return _checked(path, schema.text_of(path), strict=strict)


@lru_cache(maxsize=4096)  # a plan asks several times
def _checked(path: Path, text: str, *, strict: bool) -> tuple[Document, tuple[str, ...]]:
    document = schema.parse(text, where=str(path), lenient=not strict)
    if strict:
        schema.check(document, SCHEMAS[path.name])
        return document, ()
    return document, schema.tolerate(document, SCHEMAS[path.name])[1]

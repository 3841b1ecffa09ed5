"""Documents that people write: read, checked, and complained about with file, line and column."""

from __future__ import annotations

import difflib
import importlib.resources
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from imagebuilder.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML or JSON document and where it came from."""

    where: str
    value: Any
    node: yaml.Node | None

    def place(self, path: Iterable[str | int]) -> str:
        """`file:line:column` of the value at `path`, or of the nearest one above it."""
        node = self.node
        for key in path:
            child = _child(node, key)
            if child is None:
                break
            node = child
        if node is None:
            return self.where
        return f"{self.where}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a key given twice is an error."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, Hashable) and key in seen and key_node.value != "<<":
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        if isinstance(key, Hashable):
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path) -> Document:
    """The document in the file at `path`; raise ConfigError if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(path)) from error
    return parse(text, where=str(path))


def parse(text: str, *, where: str) -> Document:
    """The document in `text`; raise ConfigError with line and column if it is not one."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(f"is not valid YAML: {error.problem}", where=place) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not valid YAML: {error}", where=where) from error
    finally:
        loader.dispose()
    return Document(where, value, node)


def check(document: Document, schema: str) -> Any:
    """The document's value, if it satisfies `schema` (like `element/schemas/element.json`)."""
    from jsonschema.exceptions import best_match  # costs 60 ms, needed only here

    error = best_match(_validator(schema).iter_errors(document.value))
    if error is None:
        return document.value
    what, hint = _explain(error)
    raise ConfigError(what, where=document.place(error.absolute_path), hint=hint)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint that names what the user may have meant, or nothing."""
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""


@cache
def _validator(schema: str) -> Validator:
    from jsonschema import Draft202012Validator

    text = importlib.resources.files("imagebuilder").joinpath(schema).read_text()
    return Draft202012Validator(json.loads(text))


def _explain(error: ValidationError) -> tuple[str, str]:
    path = ".".join(str(part) for part in error.absolute_path)
    place = f"in '{path}': " if path else ""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = schema.get("properties", {})
        unknown = sorted(str(key) for key in error.instance if key not in known)
        hint = nearest(unknown[0], known) or f"known keys: {', '.join(sorted(known))}"
        return f"{place}unknown key {unknown[0]!r}", hint
    return f"{place}{error.message}", str(schema.get("description", ""))


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return child if isinstance(child, yaml.Node) else None
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if key_node.value == str(key) and isinstance(value, yaml.Node):
                return value
    return None

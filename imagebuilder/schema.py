"""Documents that people write: read, checked, and complained about with file, line and column."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from imagebuilder import given
from imagebuilder.errors import ConfigError, nearest, together

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator


MERGE = "tag:yaml.org,2002:merge"
HEAVIEST = 1_000_000  # values in a document, each alias counted as all that it stands for
LONGEST, HEAD = 400, 150  # characters of a message, and of its ends if it is longer
TIMESTAMP = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML or JSON document and where it came from."""

    where: str
    value: Any
    node: yaml.Node | None
    repeated: tuple[str, ...] = field(default=(), kw_only=True)  # keys given twice, with places
    lenient: bool = field(default=False, kw_only=True)  # whether keys that mean nothing may stay

    def place(self, path: Iterable[str | int]) -> str:
        """`file:line:column` of the value at `path`, or of the nearest one above it."""
        return self._place(self._node(path))

    def key_place(self, path: Iterable[str | int], key: str) -> str:
        """`file:line:column` of a key in the mapping at `path`."""
        node = self._node(path)
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        return self._place(next((name for name, _ in pairs if name.value == key), node))

    def _node(self, path: Iterable[str | int]) -> yaml.Node | None:
        node = self.node
        for key in path:
            child = _child(node, key)
            if child is None:
                break
            node = child
        return node

    def _place(self, node: yaml.Node | None) -> str:
        if node is None:
            return self.where
        return f"{self.where}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a key given twice is noted, and a date is text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[Hashable, yaml.Mark]] = []


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE:
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, Hashable) and key in seen:
            loader.repeated.append((key, key_node.start_mark))
        if isinstance(key, Hashable):
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:value", _text)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path, *, lenient: bool = False) -> Document:
    """The document in the file at `path`; raise ConfigError if there is none."""
    return parse(text_of(path), where=str(path), lenient=lenient)


def text_of(path: Path) -> str:
    """The text of the file at `path`; raise ConfigError if there is none."""
    try:
        return given.read_text(path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(path)) from error


def parse(text: str, *, where: str, lenient: bool = False) -> Document:
    """The document in `text`; raise ConfigError with line and column if it is not one.

    It is YAML, or JSON: a text that is both means what it means as JSON. If it is `lenient`, the
    last of several equal keys counts.
    """
    is_json, value = _json(text)
    try:
        node, other, twice = _yaml(text.replace("\t", " ") if is_json else text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(f"is not valid YAML: {error.problem}", where=place) from error
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"is not valid YAML: {error}", where=where) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", where=where) from error
    repeated = tuple(
        (f"{where}:{mark.line + 1}:{mark.column + 1}", f"the key {key!r} is given twice")
        for key, mark in twice
    )
    if repeated and not lenient:
        place, what = repeated[0]
        raise ConfigError(f"is not valid YAML: {what}", where=place)
    told = tuple(f"{place}: {what}; the last one counts" for place, what in repeated)
    return Document(where, value if is_json else other, node, repeated=told, lenient=lenient)


def _yaml(text: str) -> tuple[yaml.Node | None, Any, list[tuple[Hashable, yaml.Mark]]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
        return node, value, loader.repeated
    finally:
        loader.dispose()


def _json(text: str) -> tuple[bool, Any]:
    """Whether `text` is a JSON object or list, and its value. Its tabs are never in a string."""
    if not text.lstrip().startswith(("{", "[")):
        return False, None
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        return False, None


def check(document: Document, schema: str) -> Any:
    """The document's value, if it satisfies `schema` (like `element/schemas/element.json`)."""
    _complain(document, _errors(document, schema))
    return document.value


def tolerate(document: Document, schema: str) -> tuple[Any, tuple[str, ...]]:
    """The same, and a line for each key that the schema does not know, which is passed over."""
    errors = _errors(document, schema)
    unknown = [error for error in errors if _unknown_keys(error) and _properties(error)]
    _complain(document, [error for error in errors if error not in unknown])
    lines = (
        f"{document.key_place(error.absolute_path, key)}: unknown key {key!r}, which does nothing"
        f"{_meant(key, _properties(error))}"
        for error in unknown
        for key in _unknown_keys(error)
    )
    return document.value, (*document.repeated, *lines)


def _meant(key: str, known: Iterable[str]) -> str:
    hint = nearest(key, known)
    return f" (hint: {hint})" if hint else ""


def _errors(document: Document, schema: str) -> list[ValidationError]:
    try:
        _check_weight(document)
        _check_keys(document, document.value, ())
        return list(_validator(schema).iter_errors(document.value))
    except RecursionError as recursion:
        raise ConfigError("is nested too deeply", where=document.where) from recursion


def _complain(document: Document, errors: list[ValidationError]) -> None:
    from jsonschema.exceptions import best_match  # costs 60 ms, needed only here

    best = filter(None, (best_match([error]) for error in errors))
    if found := [_complaint(document, error) for error in best]:
        raise together(found)


def _complaint(document: Document, error: ValidationError) -> ConfigError:
    what, hint = _explain(error)
    unknown = _unknown_keys(error)
    if unknown:
        place = document.key_place(error.absolute_path, unknown[0])
        return ConfigError(what, where=place, hint=hint)
    return ConfigError(what, where=document.place(error.absolute_path), hint=hint)


def inner(document: Document, key: str) -> Document:
    """The part of a document that is below `key`, which must be there."""
    node = None if document.node is None else _child(document.node, key)
    return Document(document.where, document.value[key], node or document.node)


def descriptions(schema: str, *path: str) -> Mapping[str, str]:
    """What a schema says about each key of the mapping at `path` in it, like `properties`."""
    part: Any = _read(schema)
    for key in path:
        part = part[key]
    return {name: value["description"] for name, value in part.items()}


def _check_weight(document: Document) -> None:
    """Refuse what a few aliases of aliases have made endless."""
    known: dict[int, int] = {}

    def weight(value: Any) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in known:
            children = value.values() if isinstance(value, dict) else value
            known[id(value)] = 1 + sum(map(weight, children))
        return known[id(value)]

    if weight(document.value) > HEAVIEST:
        raise ConfigError(
            f"stands for more than {HEAVIEST} values",
            where=document.where,
            hint="look at its aliases (*name), which repeat what they name",
        )


def _check_keys(document: Document, value: Any, path: tuple[str | int, ...]) -> None:
    """Refuse the keys that YAML does not read as text, like `on` or `3.10`."""
    pairs = value.items() if isinstance(value, dict) else enumerate(_list(value))
    for key, child in pairs:
        if isinstance(value, dict) and not isinstance(key, str):
            raise ConfigError(
                f"the key {key!r} is not text", where=document.place((*path, key)), hint="quote it"
            )
        _check_keys(document, child, (*path, key))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@cache
def _validator(schema: str) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_read(schema))


def _read(schema: str) -> Any:
    return json.loads(importlib.resources.files("imagebuilder").joinpath(schema).read_text())


def _explain(error: ValidationError) -> tuple[str, str]:
    path = ".".join(str(part) for part in error.absolute_path)
    place = f"in '{path}': " if path else ""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    description = str(schema.get("description", ""))
    unknown = _unknown_keys(error)
    if unknown:
        known = schema.get("properties", {})
        listed = f"known keys: {', '.join(sorted(known))}" if known else description
        return f"{place}unknown key {unknown[0]!r}", nearest(unknown[0], known) or listed
    return f"{place}{_shortened(error.message)}", description


def _shortened(message: str) -> str:
    """A message that fits in a line or two, though it holds a whole document."""
    return message if len(message) <= LONGEST else f"{message[:HEAD]} ... {message[-HEAD:]}"


def _properties(error: ValidationError) -> Mapping[str, Any]:
    """The keys that the schema knows where the error is; nothing if it wants names of a form."""
    schema = error.schema
    return schema.get("properties", {}) if isinstance(schema, Mapping) else {}


def _unknown_keys(error: ValidationError) -> list[str]:
    """The keys that the schema does not know, or that are not written as it wants keys to be."""
    if not isinstance(error.schema, Mapping) or not isinstance(error.instance, Mapping):
        return []
    if error.validator != "additionalProperties":
        return []
    known = error.schema.get("properties", {})
    patterns = error.schema.get("patternProperties", {})
    return sorted(
        key
        for key in error.instance
        if key not in known and not any(re.search(pattern, key) for pattern in patterns)
    )


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return child if isinstance(child, yaml.Node) else None
    if isinstance(node, yaml.MappingNode):
        for key_node, value in reversed(node.value):  # what `<<` merges in comes first
            if key_node.value == str(key) and isinstance(value, yaml.Node):
                return value
    return None

"""TOML documents that can say in which line something is, like those of `imagebuilder.schema`."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from imagebuilder.errors import ConfigError
from imagebuilder.schema import Document

ERROR = re.compile(r" \(at line (\d+), column (\d+)\)$")
HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")
KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")


def parse(text: str, where: str) -> Document:
    """The document in `text`; raise ConfigError with line and column if it is not one."""
    try:
        value: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = ERROR.search(said)
        place = f"{where}:{found[1]}:{found[2]}" if found else where
        raise ConfigError(f"is not valid TOML: {ERROR.sub('', said)}", where=place) from error
    return Document(where, value, _nodes(text))


def _nodes(text: str) -> yaml.MappingNode:
    """Where tables and keys begin. A key inside a text of several lines may be taken for one."""
    root = _mapping(0, 0)
    table = root
    for number, line in enumerate(text.splitlines()):
        if header := HEADER.match(line):
            table = _table(root, header[1].split("."), number, header.start(1))
        elif key := KEY.match(line):
            *tables, last = key[1].split(".")
            column = key.start(1)
            owner = _table(table, tables, number, column)
            owner.value.append((_scalar(last, number, column), _scalar("", number, column)))
    return root


def _table(root: yaml.MappingNode, names: list[str], line: int, column: int) -> yaml.MappingNode:
    table = root
    for name in names:
        plain = name.strip().strip("\"'")
        there = [node for key, node in table.value if key.value == plain]
        if not there or not isinstance(there[0], yaml.MappingNode):
            there = [_mapping(line, column)]
            table.value.append((_scalar(plain, line, column), there[0]))
        table = there[0]
    return table


def _mapping(line: int, column: int) -> yaml.MappingNode:
    return yaml.MappingNode("", [], _mark(line, column))


def _scalar(value: str, line: int, column: int) -> yaml.ScalarNode:
    return yaml.ScalarNode("", value, _mark(line, column))


def _mark(line: int, column: int) -> yaml.Mark:
    return yaml.Mark("", 0, line, column, None, 0)

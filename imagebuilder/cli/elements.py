"""`imagebuilder elements`: what elements there are, and what each of them offers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagebuilder.element import load
from imagebuilder.element.model import ALL_PHASES, Element
from imagebuilder.errors import ConfigError, ElementError, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("what", nargs="*", metavar="NAME", help="show these elements in full")
    parser.add_argument("--search", metavar="TEXT", help="only those that mention TEXT")
    parser.add_argument("--for", dest="distribution", metavar="DISTRIBUTION",
                        help="only those meant for a distribution, like debian")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for."""
    index = load.index(load.search_path(arguments.environment.get("ELEMENTS_PATH", "")))
    chosen = [load.load(path) for path in _chosen(arguments.what, index)]
    _check_distribution(arguments.distribution, chosen)
    found = [element for element in chosen if _matches(element, arguments)]
    if arguments.json:
        print(json.dumps([_document(element) for element in found], indent=2))
    elif arguments.what:
        print("\n\n".join(_page(element) for element in found))
    else:
        width = max((len(element.name) for element in found), default=0)
        for element in found:
            print(f"{element.name:<{width}}  {element.summary}".rstrip())
    return 0


def _chosen(names: list[str], index: Mapping[str, Path]) -> list[Path]:
    for name in names:
        if name not in index:
            raise ElementError(f"Element '{name}' not found", hint=nearest(name, index))
    return [index[name] for name in names or sorted(index)]


def _check_distribution(name: str | None, elements: list[Element]) -> None:
    known = sorted({each for element in elements for each in element.supports})
    if name and name not in known:
        raise ConfigError(
            f"no element says that it is meant for {name!r}", where="--for",
            hint=nearest(name, known),
        )  # fmt: skip


def _matches(element: Element, arguments: argparse.Namespace) -> bool:
    text = " ".join((element.name, element.summary, *element.tags))
    text += " ".join(f" {v.name} {v.help}" for v in element.variables)
    wanted = (arguments.search or "").lower() in text.lower()
    family = arguments.distribution
    return wanted and (not family or not element.supports or family in element.supports)


def _page(element: Element) -> str:
    phases = [phase.name for phase in ALL_PHASES if (element.path / phase.directory).is_dir()]
    lines = [
        f"{element.name}: {element.summary}".rstrip(": "),
        f"  directory   {element.path}",
        *_row("depends on", element.depends),
        *_row("provides", element.provides),
        *_row("phases", phases),
        *_row("meant for", element.supports),
        *_row("tags", element.tags),
    ]
    if element.variables:
        width = max(len(v.name) for v in element.variables)
        lines.append("  variables")
        lines += [
            f"    {v.name:<{width}}  {v.help}"
            + (f" [{v.default}]" if v.default else " (required)" if v.required else "")
            for v in element.variables
        ]
    return "\n".join(lines)


def _row(title: str, words: tuple[str, ...] | list[str]) -> list[str]:
    return [f"  {title:<11} {', '.join(words)}"] if words else []


def _document(element: Element) -> dict[str, Any]:
    return {
        "name": element.name,
        "path": str(element.path),
        "summary": element.summary,
        "depends": list(element.depends),
        "provides": list(element.provides),
        "supports": list(element.supports),
        "tags": list(element.tags),
        "phases": [p.name for p in ALL_PHASES if (element.path / p.directory).is_dir()],
        "variables": {
            v.name: {"type": v.type, "default": v.default, "help": v.help, "required": v.required}
            for v in element.variables
        },
    }

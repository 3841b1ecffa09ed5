"""`imagebuilder lint`: mistakes in elements.

The exit status is 0 if nothing is wrong, 1 if something is (with `--strict`, if there are
warnings too), and 2 if what was asked for is not there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from imagebuilder.element import load
from imagebuilder.errors import ElementError, nearest
from imagebuilder.lint.lint import lint
from imagebuilder.lint.model import Finding, Severity
from imagebuilder.process import find
from imagebuilder.process import run as run_program

FOUND = 1
OF_ELEMENTS = ("element-", "element.", "package-installs.", "pkg-map", "svc-map", "source-repos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "what", nargs="*", metavar="ELEMENT|DIRECTORY",
        help="names of elements, directories of one, or directories of several (default: all in "
        "ELEMENTS_PATH, or those that come with the program)",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="let warnings count as errors")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong; the exit status."""
    given = arguments.environment.get("ELEMENTS_PATH", "")
    search = load.search_path(given)
    own = [Path(entry) for entry in given.split(":") if entry] or search
    everything = list(load.index(own).values()), list[Path]()
    chosen, more = _chosen(arguments.what, search) if arguments.what else everything
    findings = lint(chosen, (*more, *search), run_program)
    if arguments.json:
        print(json.dumps([_document(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding)
        print(_verdict(findings, len(chosen)), file=sys.stderr)
    counted = [f for f in findings if arguments.strict or f.severity is Severity.ERROR]
    return FOUND if counted else 0


def _chosen(words: Sequence[str], search: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The elements that words stand for, and directories of elements that are not in `search`."""
    index = load.index(search)
    chosen: list[Path] = []
    more: list[Path] = []
    for word in words:
        path = Path(word)
        if word in index and "/" not in word:
            chosen.append(index[word])
        elif not path.is_dir():
            raise ElementError(
                f"neither an element nor a directory: {word!r}", hint=nearest(word, index)
            )
        elif _is_element(path):
            chosen.append(path)
            more.append(path.resolve().parent)
        else:
            chosen += load.index([path]).values()
            more.append(path)
    return chosen, more


def _is_element(path: Path) -> bool:
    """Whether the directory is an element, and not one of elements."""
    entries = list(path.iterdir())
    directories = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry.is_file()]
    marked = any(entry.name.startswith(OF_ELEMENTS) for entry in files)
    return marked or any(entry.suffix == ".d" for entry in directories) or not directories


def _document(finding: Finding) -> dict[str, str]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "where": finding.where,
        "what": finding.what,
        "hint": finding.hint,
    }


def _verdict(findings: Sequence[Finding], number: int) -> str:
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    said = f"{number} elements: {errors} errors, {len(findings) - errors} warnings"
    missing = "" if find("shellcheck") else "; shellcheck is not installed, and was not asked"
    return said + missing

"""`dib-lint`: diskimage-builder's linter of elements, to be run at the top of a repository.

The exit status is 0 if nothing is wrong, else 1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imagebuilder.cli.guard import guarded
from imagebuilder.errors import ConfigError
from imagebuilder.process import run as run_program

HELP = """\
Usage: dib-lint

Looks for mistakes in the elements of a repository.

  ELEMENTS_DIR  directory of elements (default: diskimage_builder/elements)
  LIB_DIR       directory of shell libraries (default: diskimage_builder/lib)"""


def main(words: Sequence[str]) -> int:
    """Lint; 0, or 1."""
    return guarded(lambda: _run(words), status=lambda _: 1)


def _run(words: Sequence[str]) -> int:
    from imagebuilder.lint import dib

    if {"-h", "--help"} & {*words}:
        print(HELP)
        return 0
    elements = Path(os.environ.get("ELEMENTS_DIR") or "diskimage_builder/elements")
    library = Path(os.environ.get("LIB_DIR") or "diskimage_builder/lib")
    if not elements.is_dir():
        raise ConfigError(
            "is not a directory", where=str(elements), hint="set ELEMENTS_DIR to where elements are"
        )
    print(f"Running dib-lint in {Path.cwd()}")
    wrong = False
    for complaint in dib.lint(elements, library, run_program):
        wrong = True
        print(f"ERROR: {complaint}")
    print("*** FAIL: Some tests failed!" if wrong else "PASS")
    return int(wrong)

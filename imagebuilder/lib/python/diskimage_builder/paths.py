"""Where the shell libraries and the elements are, for scripts that ask diskimage-builder."""

from __future__ import annotations

from pathlib import Path

import imagebuilder
from imagebuilder.element import load


def get_path(var: str) -> str:
    """The directory of `lib` or of `elements`; end the program for any other name."""
    match var:
        case "lib":
            return str(Path(imagebuilder.__file__).resolve().parent / "lib")
        case "elements":
            return str(load.builtin())
        case _:
            raise SystemExit(f"neither 'lib' nor 'elements': {var!r}")


def show_path(var: str) -> None:
    """Print what `get_path` gives."""
    print(get_path(var))

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

MakeElement = Callable[[str, Mapping[str, str]], Path]


@pytest.fixture
def make_element(tmp_path: Path) -> MakeElement:
    """Writes an element below tmp_path from its files; those in `*.d/` become executable."""

    def make(name: str, files: Mapping[str, str]) -> Path:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if ".d/" in file else 0o644)
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        return tmp_path / name

    return make

"""`imagebuilder elements`: which there are, for which distribution."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from imagebuilder.cli import elements
from imagebuilder.errors import ConfigError

FILES = {
    "any/element.yaml": "summary: for all\n",
    "deb/element.yaml": "summary: for two\nsupports: [debian, ubuntu]\n",
    "rpm/element.yaml": "summary: for one\nsupports: [moonbase]\n",
}


def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], distribution: str) -> list[str]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir()
        file.write_text(text)
    elements.run(
        Namespace(
            what=["any", "deb", "rpm"], search=None, json=False,
            distribution=distribution, environment={"ELEMENTS_PATH": str(tmp_path)},
        )
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    return [line.split(":")[0] for line in lines if not line.startswith(" ") and line]


def test_those_for_a_distribution_include_those_for_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(tmp_path, capsys, "ubuntu") == ["any", "deb"]


def test_a_distribution_that_none_is_for_is_refused_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="meant for 'moonbas'") as caught:
        shown(tmp_path, capsys, "moonbas")
    assert "'moonbase'" in caught.value.hint

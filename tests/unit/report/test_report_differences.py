"""The page of differences between two images."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder.cli.iso_texts import page


@pytest.mark.parametrize(
    ("old", "new", "title"),
    [
        ("in/old.iso", "out/new.iso", "old.iso and new.iso"),
        ("in/same.iso", "out/same.iso", "in/same.iso and out/same.iso"),
    ],
)
def test_the_title_tells_the_images_apart(old: str, new: str, title: str) -> None:
    assert f"<h1>{title}</h1>" in page(Path(old), Path(new), [])

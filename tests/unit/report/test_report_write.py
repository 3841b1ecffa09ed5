"""Both files of a report, written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder.errors import PublishError
from imagebuilder.report.model import Report, from_json
from imagebuilder.report.write import write


def test_both_files_are_written_and_nothing_else(tmp_path: Path, report: Report) -> None:
    directory = tmp_path / "image.d"
    data, page = write(report, directory)
    assert sorted(directory.iterdir()) == [page, data]
    assert from_json(data.read_text()) == report
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_older_files_are_replaced(tmp_path: Path, report: Report) -> None:
    (tmp_path / "report.json").write_text("old")
    assert from_json(write(report, tmp_path)[0].read_text()) == report


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, report: Report) -> None:
    directory = tmp_path / "file"
    directory.write_text("")
    with pytest.raises(PublishError) as caught:
        write(report, directory)
    assert caught.value.where == str(directory)
    assert "cannot be written: File exists" in caught.value.what


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path: Path, report: Report) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(PublishError, match="cannot be written"):
        write(report, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]

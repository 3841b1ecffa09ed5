"""The report as JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.report import model
from imagebuilder.report.model import Output, Report, as_json, from_json


def test_json_is_read_back_as_the_same_report(report: Report) -> None:
    assert from_json(as_json(report)) == report


def test_a_report_of_a_build_that_failed_early_is_read_back(report: Report) -> None:
    early = replace(report, tree=None, rows=(), outputs=(), packages=())
    assert from_json(as_json(early)) == early


def test_the_keys_are_those_of_the_docstring(report: Report) -> None:
    text = (model.__doc__ or "").splitlines()
    documented = [line.split()[0] for line in text if line.startswith("    ") and line[4] != " "]
    assert list(json.loads(as_json(report))) == documented
    assert sorted(documented) == sorted(["format", *(field.name for field in fields(Report))])


def test_times_are_in_utc(report: Report) -> None:
    started = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    document = json.loads(as_json(replace(report, started=started)))
    assert document["started"] == "2026-01-31T10:00:00Z"


def test_digests_of_any_mapping_are_sorted(report: Report) -> None:
    digests = MappingProxyType({"sha256": "b", "md5": "a"})
    output = Output(path="x", format="raw", size=1, digests=digests)
    document = json.loads(as_json(replace(report, outputs=(output,))))
    assert list(document["outputs"][0]["digests"]) == ["md5", "sha256"]


def test_what_was_downloaded_is_added_up(report: Report) -> None:
    assert report.downloaded == 5_000_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "null"])
def test_what_is_not_a_report_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.json: not a report"):
        from_json(text, where="x.json")


def test_a_report_with_an_unknown_key_is_refused(report: Report) -> None:
    document = {**json.loads(as_json(report)), "colour": "red"}
    with pytest.raises(ConfigError, match="colour"):
        from_json(json.dumps(document))


def test_a_report_of_another_format_is_refused(report: Report) -> None:
    document = {**json.loads(as_json(report)), "format": 2}
    with pytest.raises(ConfigError, match=r"another format\n  hint: read it with its own version"):
        from_json(json.dumps(document))

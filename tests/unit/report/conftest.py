"""A report to test with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imagebuilder.report.model import Output, Part, Report
from imagebuilder.report.packages import Package
from imagebuilder.report.sizes import Branch
from imagebuilder.report.timeline import Row

NASTY = "<script>alert('&\"')</script>"


@pytest.fixture
def report() -> Report:
    """A report in which everything has a name that is not harmless."""
    return Report(
        name=NASTY,
        version=NASTY,
        architecture=NASTY,
        started=datetime(2026, 1, 31, 12, tzinfo=UTC),
        seconds=100.0,
        status=1,
        error=NASTY,
        hooks=3,
        rows=(
            Row(phase=NASTY, start=1, seconds=90, status=1),
            Row(phase=NASTY, hook=f"10-{NASTY}", element=NASTY, start=1, seconds=80, status=0,
                lines=12, downloaded=5_000_000, cpu=70.5),
            Row(phase=NASTY, hook=f"20-{NASTY}", element=NASTY, start=81, seconds=0.1, status=0),
            Row(phase=NASTY, hook=f"30-{NASTY}", element=NASTY, start=82, seconds=0.1, status=0),
            Row(phase=NASTY, hook=f"40-{NASTY}", element=NASTY, start=83, seconds=8, status=1),
            Row(phase="pour", start=91, seconds=2, status=0, cached=True),
            Row(phase="qcow2", start=93, seconds=7),
        ),
        elements=(Part(name=f"x{NASTY}"), Part(name=NASTY, depends=(f"x{NASTY}",), hooks=3)),
        packages=(Package(name=NASTY, version=NASTY, architecture=NASTY, size=4096),),
        tree=Branch(name="/", size=1000, files=3, children=(
            Branch(name=NASTY, size=900, files=1),
            Branch(name="other", size=100, files=1),
        )),
        outputs=(Output(path=NASTY, format=NASTY, size=9, digests={"sha256": NASTY}),),
        layout=(NASTY,),
        log=("one", NASTY, "\x1b\x00\ud800"),
    )  # fmt: skip

"""Which break points there are, and what runs at them."""

from __future__ import annotations

import pytest

from imagebuilder.element.model import PHASES, Phase, Where
from imagebuilder.plan import breaks
from imagebuilder.plan.breaks import Stop

NAMED = {phase.name: phase for phase in PHASES}


def asked(point: str, **more: str) -> dict[str, str]:
    return {"break": point, "break_cmd": "look", **more}


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_every_phase_has_a_point_on_either_side(phase: Phase) -> None:
    command = "look" if phase.where is Where.HOST else "bash"
    before, after = f"before-{phase.name}", f"after-{phase.name}"
    assert breaks.before(phase, asked(before)) == Stop(point=before, command=command)
    assert breaks.after(phase, asked(after)) == Stop(point=after, command="bash")
    assert breaks.wanted(phase, asked(after))
    assert not breaks.wanted(phase, asked(f"before-{phase.name}-size"))


def test_points_are_matched_as_a_whole() -> None:
    listed = asked("before-root,after-error")
    assert breaks.before(NAMED["root"], listed)
    assert breaks.before(NAMED["install"], asked("before-pre-install")) is None
    assert breaks.before(NAMED["root"], {"break": "before-root"}) == Stop(
        point="before-root", command="bash"
    )
    assert breaks.before(NAMED["root"], {}) is None


def test_errors_inside_and_in_block_device_have_a_point() -> None:
    given = asked("after-error", break_outside_target="1")
    stops = {phase.name: breaks.after_error(phase, given) for phase in PHASES}
    inside = Stop(point="after-error", command="look", outside=True)
    expected = {phase.name: inside for phase in PHASES if phase.where is Where.TARGET}
    expected["block-device"] = Stop(point="after-error", command="look")
    assert {name: stop for name, stop in stops.items() if stop} == expected

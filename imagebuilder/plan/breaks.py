"""Break points: where a build stops for a shell, or for a command, to be looked at.

They are diskimage-builder's: `break` lists them, `break_cmd` is what to run instead of a shell
before a phase of the host and after an error, and `break_outside_target` runs that on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagebuilder.element.model import Phase, Where

AFTER_ERROR = "after-error"
SHELL = "bash"
BREAKS_ON_HOST = ("block-device",)  # phases of the host after whose errors there is a point


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A point that was asked for, and what to run there."""

    point: str
    command: str  # of bash
    outside: bool = False  # on the host, though the phase is inside


def wanted(phase: Phase, variables: Mapping[str, str]) -> bool:
    """Whether a break point before or after the phase is asked for."""
    return bool(before(phase, variables) or after(phase, variables))


def before(phase: Phase, variables: Mapping[str, str]) -> Stop | None:
    """The point before a phase, if it is asked for."""
    command = variables.get("break_cmd") if phase.where is Where.HOST else SHELL
    return _stop(f"before-{phase.name}", command or SHELL, variables)


def after(phase: Phase, variables: Mapping[str, str]) -> Stop | None:
    """The point after a phase that has succeeded, if it is asked for."""
    return _stop(f"after-{phase.name}", SHELL, variables)


def after_error(phase: Phase, variables: Mapping[str, str]) -> Stop | None:
    """The point after a hook that has failed, if it is asked for, and if the phase has one."""
    if phase.where is Where.HOST and phase.name not in BREAKS_ON_HOST:
        return None
    command = variables.get("break_cmd") or SHELL
    outside = phase.where is Where.TARGET and bool(variables.get("break_outside_target"))
    return _stop(AFTER_ERROR, command, variables, outside=outside)


def _stop(
    point: str, command: str, variables: Mapping[str, str], *, outside: bool = False
) -> Stop | None:
    listed = variables.get("break", "").split(",")
    return Stop(point=point, command=command, outside=outside) if point in listed else None

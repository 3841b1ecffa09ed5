"""What has changed since the last build of an image of this name."""

from __future__ import annotations

from pathlib import Path

from imagebuilder.build.layers import LAYERS
from imagebuilder.cache import history
from imagebuilder.cache.store import Store
from imagebuilder.options import Request, cache_directory
from imagebuilder.plan import digest
from imagebuilder.plan.model import Plan


def remember(plan: Plan) -> None:
    """Write down what this build was made from, if that can be done."""
    steps = {step.phase: step.inputs for step in digest.chain(plan, {})}
    history.remember(_store(plan.request), _name(plan.request), steps)


def changes(plan: Plan) -> tuple[str, ...]:
    """Which inputs are not those of the last build, each with the first phase that sees it."""
    before = history.recall(_store(plan.request), _name(plan.request))
    if not before:
        return ("nothing is known of an earlier build",)
    found: dict[str, str] = {}
    for step in digest.chain(plan, {}):
        for change in history.explain(before.get(step.phase, {}), step.inputs):
            found.setdefault(change, step.phase)
    return tuple(f"{phase}: {change}" for change, phase in found.items()) or ("nothing",)


def _store(request: Request) -> Store:
    return Store(cache_directory(request) / LAYERS)


def _name(request: Request) -> str:
    return Path(request.output_name).name

"""What a build would find in the cache, and what changed since the last build of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imagebuilder.build import layers
from imagebuilder.cache import history
from imagebuilder.cache.model import UnusableError
from imagebuilder.cache.store import Store
from imagebuilder.options import Request
from imagebuilder.plan import digest
from imagebuilder.plan.digest import StepInputs
from imagebuilder.plan.model import Plan

Digests = Mapping[str, str]  # of what fingerprint.d printed


def remember(plan: Plan, digests: Digests) -> None:
    """Write down what this build was made from, if that can be done."""
    steps = {step.phase: step.inputs for step in digest.chain(plan, digests)}
    history.remember(layers.store_of(plan), _name(plan.request), steps)


def outlook(plan: Plan, steps: Sequence[StepInputs]) -> dict[str, tuple[str, str]]:
    """The id of each phase's step, and whether it would be taken from the cache."""
    store, request = layers.store_of(plan), plan.request
    again, refreshed, sure = digest.refreshed(plan), False, True
    reached, found = digest.FORMAT, {}
    for step in steps:
        reached = digest.identify(reached, step.inputs)
        refreshed = refreshed or step.name == again
        trusted = step.known or request.incremental
        if request.no_cache or refreshed or step.name in layers.without_layers(plan):
            state = "to do"
        elif not sure:
            state = "known when earlier steps are done"
        else:
            state = _state(store, reached) if trusted else "to do, as it may depend on anything"
        for phase in step.phases:
            found[phase.name] = (reached if sure else "", state)
        sure = sure and trusted
    return found


def changes(plan: Plan, steps: Sequence[StepInputs]) -> tuple[str, ...]:
    """Which inputs are not those of the last build, each with the first step that sees it."""
    before = history.recall(layers.store_of(plan), _name(plan.request))
    if not before:
        return ("nothing is known of an earlier build",)
    found: dict[str, str] = {}
    for step in steps:
        for change in history.explain(before.get(step.name, {}), step.inputs):
            found.setdefault(change, step.name)
    return tuple(f"{name}: {change}" for change, name in found.items()) or ("nothing",)


def _state(store: Store, key: str) -> str:
    try:
        store.read(key)
    except UnusableError:
        return "to do"
    return "cached"


def _name(request: Request) -> str:
    return Path(request.output_name).name

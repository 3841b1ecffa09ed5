"""Lets images of one file begin with the same root tree.

What elements let join the bootstrap's transaction differs from image to image, and with it the
root tree. Where nothing else differs, only the packages that all of the images have join it; the
others are installed in their own phases, as ever. What comes of an image follows from the file
then: not from what is in the cache, nor from what happens to be built at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from imagebuilder.plan import digest
from imagebuilder.plan.model import Plan
from imagebuilder.plan.owned import owned

EARLY = "packages of the bootstrap"


def groups(plans: Sequence[Plan]) -> tuple[str, ...]:
    """For each plan what its root tree depends on, but for the packages of the bootstrap.

    Plans with the same text can share the tree. It is empty where nobody can know.
    """
    return tuple(_group(plan) for plan in plans)


def packages(plans: Sequence[Plan], groups: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The packages of the bootstrap that all plans of a group have, for groups that differ.

    Plans with no such package at all do not count: they would take them from all others.
    """
    found: dict[str, list[frozenset[str]]] = {}
    for plan, group in zip(plans, groups, strict=True):
        if group and plan.early:
            found.setdefault(group, []).append(frozenset(plan.early))
    return {
        group: tuple(sorted(frozenset.intersection(*sets)))
        for group, sets in found.items()
        if len(set(sets)) > 1 and frozenset.intersection(*sets)
    }


def _group(plan: Plan) -> str:
    """Fingerprints are left out: what they find is the same for all images."""
    programs = {p for each in owned(plan.draft).fingerprints.values() for p in each}
    first = digest.steps(plan, dict.fromkeys(sorted(programs), ""))[0]
    if not first.known:
        return ""
    return json.dumps({name: value for name, value in first.inputs.items() if name != EARLY})

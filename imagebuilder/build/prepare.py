"""Plans a build: the part of the story in which `environment.d` runs, and nothing else does."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path

from imagebuilder.build import check, downloads
from imagebuilder.element.model import PHASES
from imagebuilder.events import Listener, Said, ignore
from imagebuilder.hooks import merged
from imagebuilder.hooks.phase import Outside, Work, fingerprints, read_environment
from imagebuilder.hooks.place import Place
from imagebuilder.options import Request
from imagebuilder.plan import make
from imagebuilder.plan.model import Draft, Plan
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.isolate import isolate


def plan(request: Request) -> tuple[Plan, Outside]:
    """What a build would do; nothing is done, but `environment.d` and `fingerprint.d` are run."""
    draft = make.draft(request)
    check.formats(draft)
    return look_ahead(draft, outside=not request.no_cache)


def look_ahead(draft: Draft, *, outside: bool = True) -> tuple[Plan, Outside]:
    """The plan for a draft, and what its elements take from `outside` if that is asked for."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as held:
        isolate()
        kernel.mount("tmpfs", directory, "tmpfs")  # thousands of small files take no time there
        held.callback(kernel.unmount, directory)
        place = Place(scratch=Path(directory))
        place.make()
        planned = settle(draft, place, ignore)
        if not outside:
            return planned, Outside(digests={})
        request = draft.request
        with downloads.lent(request, place, ignore) if request.offline else nullcontext():
            return planned, look_outside(planned, place, ignore)


def settle(draft: Draft, place: Place, listen: Listener) -> Plan:
    """The plan for a draft, with the merged hooks tree written where the build will need it."""
    names = " ".join(element.name for element in draft.elements)
    listen(Said(f"Expanded element dependencies to: {names}"))
    listen(Said(f"Building in {place.scratch}"))
    merged.copy(draft.tree, place.hooks)
    merged.write_library(place.hooks)
    plan = make.finish(draft, read_environment(place, draft.tree, draft.variables, listen))
    check.settled(plan)
    return plan


def look_outside(plan: Plan, place: Place, listen: Listener) -> Outside:
    """What the elements take from outside, as their `fingerprint.d` finds it."""
    return fingerprints(
        Work(
            phase=PHASES[0],
            place=place,
            tree=plan.draft.tree,
            variables=plan.draft.variables,
            listen=listen,
            secrets=plan.secrets,
        )
    )

"""Plans a build: the part of the story in which `environment.d` runs, and nothing else does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from imagebuilder.events import Listener, ignore
from imagebuilder.hooks import merged
from imagebuilder.hooks.phase import read_environment
from imagebuilder.hooks.place import Place
from imagebuilder.options import Request
from imagebuilder.plan import make
from imagebuilder.plan.model import Draft, Plan
from imagebuilder.sandbox.isolate import isolate


def plan(request: Request) -> Plan:
    """What a build would do; nothing is done, but `environment.d` is run."""
    draft = make.draft(request)
    with tempfile.TemporaryDirectory() as directory:
        place = Place(scratch=Path(directory))
        place.make()
        isolate()
        return settle(draft, place, ignore)


def settle(draft: Draft, place: Place, listen: Listener) -> Plan:
    """The plan for a draft, with the merged hooks tree written where the build will need it."""
    merged.copy(draft.tree, place.hooks)
    merged.write_library(place.hooks)
    return make.finish(draft, read_environment(place, draft.tree, draft.variables, listen))

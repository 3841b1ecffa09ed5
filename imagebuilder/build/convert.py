"""Makes every output from one tree: archives of it first, then images of the poured disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from imagebuilder import registry
from imagebuilder.build import check
from imagebuilder.build.beside import Beside
from imagebuilder.build.pour import Pouring, first_device, stage
from imagebuilder.disk.image import Image
from imagebuilder.events import Finished, Listener, Said, Started, Step, ignore
from imagebuilder.formats.memory import Memory
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.plan.model import Plan
from imagebuilder.process import run

# The images of all devices, to be read in the context; in one file each, if that is true.
Disks = Callable[[bool], AbstractContextManager[Mapping[str, Image]]]
Make = Callable[[Pouring, Output], Artefact]
MOVED = "raw"  # takes the poured image itself, so it has to come last


def outputs(pouring: Pouring, write_disks: Disks, memory: Memory) -> tuple[Artefact, ...]:
    """Write everything that was asked for; the artefacts in the order that was asked for."""
    asked = check.outputs(pouring.plan.draft, pouring.plan.epoch)
    plan = pouring.plan
    kept = not plan.request.no_cache
    wanted = [
        replace(output, memory=memory, environment=plan.environment, kept=kept) for output in asked
    ]
    made = _make_all(pouring, [o for o in wanted if not _source(o).is_disk], _pack)
    disks = sorted((o for o in wanted if _source(o).is_disk), key=_turn)
    if disks:
        whole = any(_source(output) is Source.DISK for output in disks)
        with write_disks(whole) as images:
            image = images[first_device(pouring.disk).name].copied(memory.stamps)
            convert = partial(_convert, image=image)
            made |= _make_all(pouring, [o for o in disks if not _alters(o)], convert)
            made |= {o.format: convert(pouring, o) for o in disks if _alters(o)}
    return tuple(made[output.format] for output in wanted)


def deliver(plan: Plan, listen: Listener) -> None:
    """Hand finished outputs on to where their formats say, be they new or as they were."""
    for output in check.outputs(plan.draft, plan.epoch):
        module = registry.output_format(output.format)
        told = module.deliver(output, run) if hasattr(module, "deliver") else ""
        if told:
            listen(Said(f"{output.format}: {told}"))


def _pack(pouring: Pouring, output: Output) -> Artefact:
    with stage(pouring.listen, output.format):
        module = registry.output_format(output.format)
        place = pouring.place
        source = place.medium if module.SOURCE is Source.MEDIUM else place.tree
        artefact: Artefact = module.write(source, output, pouring.run)
        return artefact


def _convert(pouring: Pouring, output: Output, image: Image) -> Artefact:
    with stage(pouring.listen, output.format):
        module = registry.output_format(output.format)
        source = image if module.SOURCE is Source.IMAGE else image.file
        artefact: Artefact = module.write(source, output, pouring.run)
        return artefact


def _make_all(pouring: Pouring, outputs: Sequence[Output], make: Make) -> dict[str, Artefact]:
    """Make several outputs of one source, as many at a time as there are cores."""
    made: dict[str, Artefact] = {}
    cores = len(os.sched_getaffinity(0))
    for first in range(0, len(outputs), cores):
        here, *others = outputs[first : first + cores]
        with ExitStack() as stack:
            begun = [stack.enter_context(_beside(pouring, other, make)) for other in others]
            made[here.format] = make(pouring, here)
            made |= {other.format: end() for other, end in zip(others, begun, strict=True)}
    return made


@contextmanager
def _beside(
    pouring: Pouring, output: Output, make: Make
) -> Generator[Callable[[], Artefact], None, None]:
    """Make one output in a process of its own; what is given waits for its end."""

    def work() -> tuple[Artefact, Mapping[Path, bytes], float]:
        begun = time.monotonic()
        artefact = make(replace(pouring, listen=ignore), output)
        return artefact, output.memory.made, time.monotonic() - begun

    def end() -> Artefact:
        artefact, indices, seconds = conversion.result()
        output.memory.made.update(indices)
        pouring.listen(Finished(step, 0, seconds))
        return artefact

    step = Step(output.format)
    pouring.listen(Started(step))
    with Beside(work) as conversion:
        yield end


def _source(output: Output) -> Source:
    source: Source = registry.output_format(output.format).SOURCE
    return source


def _alters(output: Output) -> bool:
    module = registry.output_format(output.format)
    return hasattr(module, "alters") and bool(module.alters(output.format))


def _turn(output: Output) -> bool:
    return output.format == MOVED

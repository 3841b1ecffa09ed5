"""Makes every output from one tree: archives of it first, then images of the poured disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from imagebuilder import registry
from imagebuilder.build import check
from imagebuilder.build.pour import Pouring, first_device, stage
from imagebuilder.disk.image import Image
from imagebuilder.events import Listener, Said
from imagebuilder.formats.memory import Memory
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.plan.model import Plan
from imagebuilder.process import run

# The images of all devices, to be read in the context; in one file each, if that is true.
Disks = Callable[[bool], AbstractContextManager[Mapping[str, Image]]]
MOVED = "raw"  # takes the poured image itself, so it has to come last


def outputs(pouring: Pouring, write_disks: Disks, memory: Memory) -> tuple[Artefact, ...]:
    """Write everything that was asked for; the artefacts in the order that was asked for."""
    asked = check.outputs(pouring.plan.draft, pouring.plan.epoch)
    environment = pouring.plan.environment
    wanted = [replace(output, memory=memory, environment=environment) for output in asked]
    made = {o.format: _pack(pouring, o) for o in wanted if not _source(o).is_disk}
    disks = sorted((o for o in wanted if _source(o).is_disk), key=_turn)
    if disks:
        whole = any(_source(output) is Source.DISK for output in disks)
        with write_disks(whole) as images:
            image = images[first_device(pouring.disk).name]
            made |= {output.format: _convert(pouring, image, output) for output in disks}
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


def _convert(pouring: Pouring, image: Image, output: Output) -> Artefact:
    with stage(pouring.listen, output.format):
        module = registry.output_format(output.format)
        source = image if module.SOURCE is Source.IMAGE else image.file
        artefact: Artefact = module.write(source, output, pouring.run)
        return artefact


def _source(output: Output) -> Source:
    source: Source = registry.output_format(output.format).SOURCE
    return source


def _turn(output: Output) -> bool:
    return output.format == MOVED

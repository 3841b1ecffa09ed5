"""From a Request to artefacts: decide, run the phases, pour, convert."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from imagebuilder import paths, registry, rpmdb
from imagebuilder.boot.model import EMPTY, BootBlocks
from imagebuilder.build import (
    account,
    check,
    convert,
    disk_state,
    downloads,
    existing_disk,
    finish,
    finished,
    layers,
    since,
    usage,
)
from imagebuilder.build.attach import Attached, attach
from imagebuilder.build.beside import Beside
from imagebuilder.build.existing_disk import ExistingDisk
from imagebuilder.build.pour import Pouring, poured, stage
from imagebuilder.build.prepare import settle
from imagebuilder.build.scratch import scratch
from imagebuilder.cache import bound, sources
from imagebuilder.cache.model import limits
from imagebuilder.disk.fstab import fstab
from imagebuilder.element.model import MEDIUM_PHASES, PHASES, Phase
from imagebuilder.errors import ConfigError
from imagebuilder.events import Listener, Said
from imagebuilder.formats.model import Artefact
from imagebuilder.hooks import grub, merged
from imagebuilder.hooks.phase import Work, run_phase
from imagebuilder.hooks.place import Place
from imagebuilder.options import Request, cache_directory
from imagebuilder.plan import make
from imagebuilder.plan.model import Plan
from imagebuilder.process import run
from imagebuilder.sandbox.isolate import detach_below, isolate
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter


def build(request: Request, listen: Listener) -> tuple[Artefact, ...]:
    """Build everything that `request` asks for."""
    draft = make.draft(request)
    check.before(draft)
    isolate()
    check.make_cache(request)
    with scratch(request) as place, account.kept(draft, listen) as kept, ExitStack() as lasting:
        listen = kept.listen
        existing = lasting.enter_context(existing_disk.opened(draft, place, listen))
        plan = settle(existing_disk.told(draft, existing), place, listen)
        for warning in plan.warnings:
            listen(Said(warning, warning=True))
        _tell_hooks(plan, place)
        os.environ["SOURCE_DATE_EPOCH"] = str(plan.epoch)
        lasting.enter_context(downloads.lent(request, place, listen))
        tree = layers.begin(_making(plan, place, listen, lasting, existing))
        key = finished.identify(plan, layers.known_id(tree), tree.digests)
        artefacts = finished.find(plan, key, listen)
        if not artefacts:
            kept.recall = lasting.enter_context(Beside(partial(finished.memory, request))).result
            layers.grow(tree)
            key = finished.identify(plan, tree.id if tree.sure else "", tree.digests)
            artefacts = finished.find(plan, key, listen)
        kept.unchanged = bool(artefacts)
        artefacts = kept.artefacts = artefacts or _finish(tree, kept, existing)
    _remember(tree, key, kept)
    convert.deliver(plan, listen)
    return artefacts


def _finish(
    tree: layers.Tree, kept: account.Account, existing: ExistingDisk | None
) -> tuple[Artefact, ...]:
    """Make the outputs from the tree that the layers have left."""
    making, place = tree.making, tree.making.place
    pouring = Pouring(plan=making.plan, place=place, run=run, listen=kept.listen, lay=kept.lay)
    write_disks = _finish_tree(pouring, tree, existing)
    kept.look_at(place.tree)
    if existing:
        existing.clamp_times(making.plan.epoch)
    if existing or making.plan.draft.attached:
        kept.looked()  # the tree will be gone
    usage.tell(making.plan.request, place.tree, kept.listen)
    kept.memory = replace(kept.recall(), stamps=tree.keeper.stamps)
    return convert.outputs(pouring, write_disks, kept.memory)


def _remember(tree: layers.Tree, key: str, kept: account.Account) -> None:
    """Leave in the caches what the next build can use, and keep them within their limits."""
    plan = tree.making.plan
    if not plan.request.no_cache:
        since.remember(plan, tree.digests)
    if kept.unchanged:
        return
    finished.keep(plan, key, kept)
    most = limits(plan.request.environment)
    bound.prune(layers.store_of(plan), downloads.store_of(plan.request), most)
    finished.store_of(plan.request).prune(most, time.time())
    sources.prune(cache_directory(plan.request), most)


def _making(
    plan: Plan, place: Place, listen: Listener, lasting: ExitStack, existing: ExistingDisk | None
) -> layers.Making:
    after: dict[str, Callable[[], None]] = {
        "root": lambda: _check_root(place.tree),
        "post-root": lambda: _leave(place.tree, existing),
        "block-device": lambda: None if existing else _write_fstab(plan, place.tree),
    }

    def run_one(phase: Phase, listen: Listener) -> None:
        run_phase(_work(plan, place, phase, listen, existing))
        downloads.collect(plan.request, place, listen)
        after.get(phase.name, lambda: None)()

    return layers.Making(plan=plan, place=place, listen=listen, run=run_one, lasting=lasting)


def _finish_tree(
    pouring: Pouring, tree: layers.Tree, existing: ExistingDisk | None
) -> convert.Disks:
    """Do what comes after the layers: boot loader, cleanup.d, tidying up; what writes the disks.

    If hooks want to see the disk, more phases are left; from block-device on they see it.
    """
    plan, place, listen = pouring.plan, pouring.place, pouring.listen
    disk: Attached | ExistingDisk | None = existing
    if plan.draft.attached:
        disk = _on_the_disk(pouring, tree.making)
    blocks = _install_boot_loader(plan, place, listen)
    run_phase(_work(plan, place, PHASES[-1], listen, disk))
    with stage(listen, "tidy"):
        detach_below(place.tree, keep=disk.points if disk else ())
        finish.return_resolver(place.tree)
        finish.tidy(place.tree)
        if not existing:
            finish.own_root(place.tree)
            rpmdb.settle(place.tree, plan.epoch)
            tree.pile.clamp_times(plan.epoch)
    _fill_medium(plan, place, listen)
    if existing:
        return lambda _: existing.detached()
    if isinstance(disk, Attached):
        attached = disk
        return lambda _: attached.detached(blocks)
    return lambda whole: poured(pouring, blocks, whole=whole)


def _fill_medium(plan: Plan, place: Place, listen: Listener) -> None:
    """Run the phases that make the files of a CD of the finished tree, if one was asked for."""
    if not check.has_medium(plan.draft):
        return
    for name in ("tree", "initrd"):
        (place.medium / name).mkdir(parents=True)
    for phase in MEDIUM_PHASES:
        run_phase(_work(plan, place, phase, listen))


def _on_the_disk(pouring: Pouring, making: layers.Making) -> Attached:
    """Run the phases from post-root to finalise, with the disk in the tree's place at last."""
    phases = {phase.name: phase for phase in PHASES}
    for name in ("post-root", "block-device"):
        making.run(phases[name], making.listen)
    disk = making.lasting.enter_context(attach(pouring))
    for name in ("pre-finalise", "finalise"):
        run_phase(_work(pouring.plan, pouring.place, phases[name], pouring.listen, disk))
        downloads.collect(pouring.plan.request, pouring.place, pouring.listen)
    return disk


def _tell_hooks(plan: Plan, place: Place) -> None:
    """Write what hooks, and the programs that they call, need to know."""
    draft = plan.draft
    merged.write(place.hooks, plan)
    document = make.block_device(draft.request, draft.elements)
    defaults = make.defaults(draft.request)
    disk_state.announce(place.disk_parameters, document, defaults, place.tree)
    disk_state.write_helpers(place.hooks / merged.DATA / "lib")


def _work(
    plan: Plan,
    place: Place,
    phase: Phase,
    listen: Listener,
    disk: Attached | ExistingDisk | None = None,
) -> Work:
    extra = {"IMAGEBUILDER_EARLY_PACKAGES": " ".join(plan.early)} if phase.name == "root" else {}
    return Work(
        phase=phase,
        place=place,
        tree=plan.draft.tree,
        variables={**plan.draft.variables, **extra, **(disk.variables if disk else {})},
        listen=listen,
        secrets=plan.secrets,
        packages=plan.request.packages if phase.name == "install" else (),
        deadline=float(plan.request.hook_timeout),
        devices=disk.names if disk else (),
        links=disk.links if isinstance(disk, ExistingDisk) else (),
        covered=_covered(plan, phase, disk),
    )


def _covered(plan: Plan, phase: Phase, disk: Attached | ExistingDisk | None) -> tuple[str, ...]:
    """The programs of GRUB's that hooks must not reach, since the disk is not there or not all."""
    late = phase.name in ("pre-finalise", "finalise", "cleanup")
    if not late or (disk and not plan.boot_loaders):
        return ()
    is_whole = isinstance(disk, Attached) and not disk.partial
    return grub.PROBES if is_whole else (*grub.PROBES, *grub.INSTALLERS)


def _check_root(tree: Path) -> None:
    found = {path.name for path in tree.iterdir()} - {"tmp", "lost+found"}
    if not found:
        raise ConfigError(
            "Failed to deploy the root element.",
            where="phase root",
            hint="the operating system element's root.d has to fill TARGET_ROOT",
        )


def _leave(tree: Path, existing: ExistingDisk | None) -> None:
    """Take away what belongs to where the tree was made, and not to the image."""
    if existing:
        detach_below(tree, keep=existing.points)
        return
    detach_below(tree)
    shutil.rmtree(tree / "lost+found", ignore_errors=True)


def _write_fstab(plan: Plan, tree: Path) -> None:
    text = fstab(plan.draft.disk)
    if text:
        paths.write_in(tree, "/etc/fstab", text.encode())


def _install_boot_loader(plan: Plan, place: Place, listen: Listener) -> BootBlocks:
    if paths.exists_in(place.tree, grub.INSTALLED):
        return EMPTY
    table = plan.draft.variables["IMAGEBUILDER_PARTITION_TABLE"]
    blocks = EMPTY
    for name in plan.boot_loaders:
        with stage(listen, name), enter(Sandbox(root=place.tree, network=False)) as inside:
            plugin = registry.find("boot", name)
            blocks = plugin.install(place.tree, plan.draft.disk, inside, table=table)
    return blocks

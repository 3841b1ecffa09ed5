"""From a Request to artefacts: decide, run the phases, pour, convert."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from imagebuilder import paths, registry
from imagebuilder.boot.model import EMPTY, BootBlocks
from imagebuilder.build import account, check, convert, finish, finished, layers, since
from imagebuilder.build.pour import Pouring, stage
from imagebuilder.build.prepare import settle
from imagebuilder.build.scratch import scratch
from imagebuilder.cache.model import limits
from imagebuilder.cache.prune import prune
from imagebuilder.disk.fstab import fstab
from imagebuilder.element.model import PHASES, Phase
from imagebuilder.errors import ConfigError
from imagebuilder.events import Listener, Said
from imagebuilder.formats.model import Artefact
from imagebuilder.hooks import merged
from imagebuilder.hooks.phase import Work, run_phase
from imagebuilder.hooks.place import Place
from imagebuilder.options import Request
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
        plan = settle(draft, place, listen)
        for warning in plan.warnings:
            listen(Said(warning, warning=True))
        merged.write_packages(place.hooks, plan.packages)
        merged.write_package_maps(place.hooks, draft.elements)
        os.environ["SOURCE_DATE_EPOCH"] = str(plan.epoch)
        tree = layers.begin(_making(plan, place, listen, lasting))
        key = finished.identify(plan, layers.known_id(tree), tree.digests)
        artefacts = finished.find(plan, key, listen)
        if not artefacts:
            layers.grow(tree)
            key = finished.identify(plan, tree.id if tree.sure else "", tree.digests)
            artefacts = finished.find(plan, key, listen)
        kept.unchanged = bool(artefacts)
        artefacts = kept.artefacts = artefacts or _finish(plan, place, kept)
    if not request.no_cache:
        since.remember(plan, tree.digests)
        _keep(plan, key, () if kept.unchanged else artefacts)
    return artefacts


def _finish(plan: Plan, place: Place, kept: account.Account) -> tuple[Artefact, ...]:
    """Make the outputs from the tree that finalise.d has left."""
    blocks = _finish_tree(plan, place, kept.listen)
    pouring = Pouring(plan=plan, place=place, run=run, listen=kept.listen, lay=kept.lay)
    kept.look_at(place.tree)
    return convert.outputs(pouring, blocks)


def _keep(plan: Plan, key: str, made: tuple[Artefact, ...]) -> None:
    """Leave in the cache what the next build can use, within its limits."""
    if key and made:
        finished.keep(plan, key, made)
    most = limits(plan.request.environment)
    prune(layers.store_of(plan), most)
    finished.store_of(plan.request).prune(most, time.time())


def _making(plan: Plan, place: Place, listen: Listener, lasting: ExitStack) -> layers.Making:
    after: dict[str, Callable[[], None]] = {
        "root": lambda: _check_root(place.tree),
        "post-root": lambda: detach_below(place.tree),
        "block-device": lambda: _write_fstab(plan, place.tree),
    }

    def run_one(phase: Phase, listen: Listener) -> None:
        run_phase(_work(plan, place, phase, listen))
        after.get(phase.name, lambda: None)()

    return layers.Making(plan=plan, place=place, listen=listen, run=run_one, lasting=lasting)


def _finish_tree(plan: Plan, place: Place, listen: Listener) -> BootBlocks:
    """Do what comes after finalise.d: the boot loader, cleanup.d, and what the core tidies up."""
    blocks = _install_boot_loader(plan, place, listen)
    run_phase(_work(plan, place, PHASES[-1], listen))
    with stage(listen, "tidy"):
        detach_below(place.tree)
        finish.return_resolver(place.tree)
        finish.tidy(place.tree)
        finish.clamp_times(place.tree, plan.epoch)
    return blocks


def _work(plan: Plan, place: Place, phase: Phase, listen: Listener) -> Work:
    extra = {"IMAGEBUILDER_EARLY_PACKAGES": " ".join(plan.early)} if phase.name == "root" else {}
    return Work(
        phase=phase,
        place=place,
        tree=plan.draft.tree,
        variables={**plan.draft.variables, **extra},
        listen=listen,
        secrets=plan.secrets,
        packages=plan.request.packages if phase.name == "install" else (),
        deadline=float(plan.request.hook_timeout),
    )


def _check_root(tree: Path) -> None:
    found = {path.name for path in tree.iterdir()} - {"tmp", "lost+found"}
    if not found:
        raise ConfigError(
            "Failed to deploy the root element.",
            where="phase root",
            hint="the operating system element's root.d has to fill TARGET_ROOT",
        )


def _write_fstab(plan: Plan, tree: Path) -> None:
    text = fstab(plan.draft.disk)
    if text:
        paths.write_in(tree, "/etc/fstab", text.encode())


def _install_boot_loader(plan: Plan, place: Place, listen: Listener) -> BootBlocks:
    table = plan.draft.variables["IMAGEBUILDER_PARTITION_TABLE"]
    blocks = EMPTY
    for name in plan.boot_loaders:
        with stage(listen, name), enter(Sandbox(root=place.tree, network=False)) as inside:
            plugin = registry.find("boot", name)
            blocks = plugin.install(place.tree, plan.draft.disk, inside, table=table)
    return blocks

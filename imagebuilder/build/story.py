"""From a Request to artefacts: decide, run the phases, pour, convert."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from imagebuilder import paths, registry
from imagebuilder.boot.model import EMPTY, BootBlocks
from imagebuilder.build import account, base, check, convert, finish, since
from imagebuilder.build.pour import Pouring, stage
from imagebuilder.build.prepare import settle
from imagebuilder.build.scratch import scratch
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
    with scratch(request) as place, account.kept(draft, listen) as kept:
        listen = kept.listen
        plan = settle(draft, place, listen)
        for warning in plan.warnings:
            listen(Said(warning, warning=True))
        merged.write_packages(place.hooks, plan.packages)
        merged.write_package_maps(place.hooks, draft.elements)
        merged.write_service_map(
            place.hooks, draft.elements, plan.environment.get("DISTRO_NAME", "")
        )
        with ExitStack() as lasting:
            making = _making(plan, place, listen, lasting)
            with base.root_tree(making):
                blocks = _finish_tree(plan, place, listen)
            pouring = Pouring(plan=plan, place=place, run=run, listen=listen, lay=kept.lay)
            kept.look_at(place.tree)
            artefacts = kept.artefacts = convert.outputs(pouring, blocks)
        if not request.no_cache:
            since.remember(plan)
            base.prune(making)
        return artefacts


def _making(plan: Plan, place: Place, listen: Listener, lasting: ExitStack) -> base.Making:
    def run_root() -> None:
        run_phase(_work(plan, place, PHASES[0], listen))
        _check_root(place.tree)

    return base.Making(plan=plan, place=place, listen=listen, run=run_root, lasting=lasting)


def _finish_tree(plan: Plan, place: Place, listen: Listener) -> BootBlocks:
    """Run the phases after root, and what the core does between them."""
    os.environ["SOURCE_DATE_EPOCH"] = str(plan.epoch)
    finish.lend_resolver(place.tree)
    blocks = EMPTY
    between: dict[str, Callable[[], None]] = {
        "post-root": lambda: detach_below(place.tree),
        "block-device": lambda: _write_fstab(plan, place.tree),
    }
    for phase in PHASES[1:]:
        run_phase(_work(plan, place, phase, listen))
        between.get(phase.name, lambda: None)()
        if phase.name == "finalise":
            blocks = _install_boot_loader(plan, place, listen)
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

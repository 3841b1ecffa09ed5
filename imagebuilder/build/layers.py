"""Makes the finished tree, step by step; steps that have been taken before are not taken again.

A step whose inputs are all known has an id before it is taken. Where a layer with that id is in
the store, the tree begins with the newest such layer. Any other step is taken, and the digest of
what it has made stands for its inputs; if that is what it made the last time, the layers above it
are found nevertheless. With `--incremental` every step counts as known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from imagebuilder.build import finish
from imagebuilder.build.content import of_trees
from imagebuilder.build.keep import Keeper, keeping
from imagebuilder.build.overlay import Pile
from imagebuilder.build.prepare import look_outside
from imagebuilder.cache.model import Layer
from imagebuilder.cache.store import Store
from imagebuilder.element.model import PHASES, Phase
from imagebuilder.events import Event, Finished, Listener, Said, Started, Step, ignore
from imagebuilder.hooks.phase import Outside
from imagebuilder.hooks.place import Place
from imagebuilder.options import cache_directory
from imagebuilder.plan import digest
from imagebuilder.plan.digest import StepId, StepInputs
from imagebuilder.plan.model import Plan
from imagebuilder.sandbox import kernel

LAYERS = "layers"
EXTRA = "extra-data"
SETTLED = ("root", EXTRA)  # steps that nothing can be found wrong with any more
ON_DISK = ("pre-finalise", "finalise", "cleanup")  # steps that see the disk where it is attached
REACHES_OUT = ("pre-install", "install", "post-install")  # package managers run in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What it takes to make a tree: `run` runs a phase, and what the core does after it.

    It tells the listener that it is given what happens meanwhile.

    `lasting` is closed when nothing of the build is needed any more.
    """

    plan: Plan
    place: Place
    listen: Listener
    run: Callable[[Phase, Listener], None]
    lasting: ExitStack

    @property
    def cached(self) -> bool:
        """Whether layers are looked for and kept."""
        return not self.plan.request.no_cache

    def say(self, text: str) -> None:
        """Remark on the cache."""
        self.listen(Said(f"cache: {text}"))


@dataclass(slots=True)
class Tree:
    """The tree as it grows: `id` stands for all steps so far, `next` is the first one to come.

    `sure`: the id says all that the tree depends on.
    """

    making: Making
    steps: Sequence[StepInputs]
    digests: Mapping[str, str]  # of what fingerprint.d printed
    pile: Pile
    keeper: Keeper
    again: int  # the first step to be taken whatever is in the store
    id: str = digest.FORMAT
    next: int = 0
    sure: bool = True
    held: dict[str, Layer] = field(default_factory=dict)  # layers from the store that are in use

    @property
    def store(self) -> Store:
        return self.keeper.store

    def trusts(self, step: StepInputs) -> bool:
        """Whether the step's inputs say what comes of it."""
        return step.known or self.making.plan.request.incremental


def store_of(plan: Plan, listen: Listener = ignore) -> Store:
    """The store of a build's layers."""
    return Store(cache_directory(plan.request) / LAYERS, listen)


def begin(making: Making) -> Tree:
    """Find out what the steps depend on; nothing is made yet."""
    outside = Outside(digests={})
    if making.cached:
        outside = look_outside(making.plan, making.place, making.listen)
        for failure in outside.failures:
            making.say(f"not used for what depends on this: {failure}")
    every = digest.steps(making.plan, outside.digests)
    steps = [step for step in every if step.name not in without_layers(making.plan)]
    names = [step.name for step in steps]
    again = digest.refreshed(making.plan)
    return Tree(
        making=making,
        steps=steps,
        digests=outside.digests,
        pile=Pile(making.place.tree, making.place.scratch),
        keeper=Keeper(store_of(making.plan, making.listen), making.say, broken=not making.cached),
        again=names.index(again) if again in names else len(names),
    )


def without_layers(plan: Plan) -> tuple[str, ...]:
    """The steps that are taken every time."""
    return ON_DISK if plan.draft.attached else ON_DISK[-1:]


def known_id(tree: Tree) -> str:
    """The id that all steps will lead to; empty if that cannot be known before."""
    steps = [*tree.steps]
    if tree.again < len(steps) or not tree.making.cached or not all(map(tree.trusts, steps)):
        return ""
    return _ids(tree, steps)[-1]


def grow(tree: Tree) -> None:
    """Take all steps, or take their layers from the store."""
    with keeping(tree.keeper):
        _make_root(tree)
        finish.lend_resolver(tree.making.place.tree)
        while tree.next < len(tree.steps):
            # extra-data.d may write into the hooks tree, which is no part of any layer
            if tree.steps[tree.next].name == EXTRA or not _resume(tree):
                _take(tree)
        if {pending.step.phase for pending in tree.keeper.waiting} & set(REACHES_OUT):
            _check_outside(tree)
        tree.keeper.finish()


def _make_root(tree: Tree) -> None:
    making, place, first = tree.making, tree.making.place, tree.steps[0]
    step = _identified(tree, first)
    tree.sure = making.cached and tree.trusts(first)
    with ExitStack() as claim:
        if tree.sure:
            _claim(tree, step, claim)
            if tree.again and (layers := tree.store.chain(step.id, tree.held)):
                _adopt(tree, 0, step.id, layers)
                return
        making.run(PHASES[0], making.listen)
        tree.next, tree.id = 1, step.id
        if kernel.mounts_below(place.tree):
            tree.pile.flat = True
            _stop(tree, "something is mounted in the root tree")
            return
        finish.clamp_times(place.tree, making.plan.epoch)
        made = place.scratch / "root"
        place.tree.rename(made)
        place.tree.mkdir()
        tree.pile.mount([made])
        if not tree.sure:
            _stop(tree, "not all is known that the root tree depends on")
            return
        _check_outside(tree)
        tree.keeper.keep(step, made, claim)


def _resume(tree: Tree) -> bool:
    """Go on from the newest layer that is in the store; whether there is one."""
    base = tree.keeper.above
    if base is None or tree.pile.flat:
        return False
    ahead = list(takewhile(tree.trusts, tree.steps[tree.next : tree.again]))
    ids = _ids(tree, ahead)
    for position in range(len(ids) - 1, -1, -1):
        layers = tree.store.chain(ids[position], tree.held)
        if any(layer.stamp == base.stamp for layer in layers):
            _adopt(tree, tree.next + position, ids[position], layers)
            return True
    return False


def _adopt(tree: Tree, position: int, reached: str, layers: tuple[Layer, ...]) -> None:
    """Go on above layers from the store, the last of which is that of the step at `position`."""
    taken = tree.steps[tree.next : position + 1]
    _use(tree, layers)
    tree.pile.mount([layer.tree for layer in layers])
    for phase in (phase for step in taken for phase in step.phases):
        tree.making.listen(Started(Step(phase.name)))
        tree.making.listen(Finished(Step(phase.name), 0, 0.0, cached=True))
    tree.making.say(f"{', '.join(step.name for step in taken)} taken from it ({reached[:12]})")
    tree.id, tree.next = reached, position + 1
    if position:
        finish.renew_resolver(tree.making.place.tree)


def _take(tree: Tree) -> None:
    """Run the phases of the next step, and keep what they have made."""
    step, before = tree.steps[tree.next], tree.id
    planned = _identified(tree, step)
    with ExitStack() as claim:
        if tree.trusts(step) and not tree.keeper.broken:
            _claim(tree, planned, claim)
            if step.name != EXTRA and _resume(tree):  # another build has made it meanwhile
                return
        for phase in step.phases:
            tree.making.run(phase, _attentive(tree))
        tree.next += 1
        frozen = tree.pile.freeze(tree.making.plan.epoch)
        if frozen is None:
            _stop(tree, "something is mounted in the tree")
        if frozen is None or not tree.sure:
            return
        if not tree.trusts(step):
            planned = _by_content(tree, step, before, frozen)
        tree.id = planned.id
        if not _is_there(tree, planned):
            tree.keeper.keep(planned, frozen, claim)


def _attentive(tree: Tree) -> Listener:
    """A listener that uses the time to keep layers that have been copied."""

    def listen(event: Event) -> None:
        tree.making.listen(event)
        tree.keeper.poll(SETTLED)

    return listen


def _by_content(tree: Tree, step: StepInputs, before: str, frozen: Path) -> StepId:
    """The step's id by what it has made."""
    trees = (frozen, tree.making.place.hooks) if step.name == EXTRA else (frozen,)
    inputs = {"step": step.name, "content": of_trees(*trees, epoch=tree.making.plan.epoch)}
    return StepId(phase=step.name, id=digest.identify(before, inputs), inputs=inputs, known=False)


def _is_there(tree: Tree, planned: StepId) -> bool:
    """Whether the very layer that was just made is in the store, to go on from."""
    base = tree.keeper.above
    if base is None or [step.name for step in tree.steps].index(planned.phase) >= tree.again:
        return False
    layers = tree.store.chain(planned.id, tree.held)
    if not layers or layers[-1].below != base.stamp:
        return False
    _use(tree, layers)
    return True


def _use(tree: Tree, layers: tuple[Layer, ...]) -> None:
    tree.making.lasting.enter_context(tree.store.hold([layer.key for layer in layers]))
    for layer in layers:
        tree.store.used(layer.key)
        tree.held[layer.key] = layer
    tree.keeper.parent = layers[-1]


def _check_outside(tree: Tree) -> None:
    """Keep nothing if what the elements take from outside has changed meanwhile."""
    making = tree.making
    if look_outside(making.plan, making.place, making.listen).digests != tree.digests:
        _stop(tree, "what elements take from outside has changed meanwhile")
        tree.keeper.drop()


def _stop(tree: Tree, reason: str) -> None:
    tree.sure = False
    tree.keeper.stop(f"not used from here: {reason}")


def _claim(tree: Tree, step: StepId, claim: ExitStack) -> None:
    waiting = f"another build makes {step.phase}, which is waited for"
    claim.enter_context(tree.store.claim(step.id, lambda: tree.making.say(waiting)))
    if [each.name for each in tree.steps].index(step.phase) >= tree.again:
        tree.store.discard(step.id)


def _identified(tree: Tree, step: StepInputs) -> StepId:
    reached = digest.identify(tree.id, step.inputs)
    return StepId(phase=step.name, id=reached, inputs=step.inputs, known=step.known)


def _ids(tree: Tree, steps: Sequence[StepInputs]) -> list[str]:
    """The ids of consecutive steps, the first of which comes next."""
    found, reached = [], tree.id
    for step in steps:
        reached = digest.identify(reached, step.inputs)
        found.append(reached)
    return found

"""The tree that root.d makes: taken from the cache if it is there, kept there if it can be.

Either way the later phases work on an overlay above it, so that an image has the same bytes
whether its root tree was made or found. Keeping copies the tree, while later phases run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import process
from imagebuilder.build import finish
from imagebuilder.cache import bound
from imagebuilder.cache.downloads import DIRECTORY, Downloads
from imagebuilder.cache.model import Draft, Layer, Origin, limits
from imagebuilder.cache.store import Store
from imagebuilder.element.model import PHASES
from imagebuilder.errors import BuildError, HookError, Interrupted
from imagebuilder.events import Finished, Listener, Said, Started, Step
from imagebuilder.hooks.phase import Work, fingerprints
from imagebuilder.hooks.place import Place
from imagebuilder.options import cache_directory
from imagebuilder.plan import digest
from imagebuilder.plan.digest import StepId
from imagebuilder.plan.model import Plan
from imagebuilder.process import Command
from imagebuilder.sandbox import kernel

LAYERS = "layers"
ROOT = Step("root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What it takes to have a root tree: `run` makes it in the place's tree.

    `lasting` is closed when nothing of the build is needed any more.
    """

    plan: Plan
    place: Place
    listen: Listener
    run: Callable[[], None]
    lasting: ExitStack

    @property
    def store(self) -> Store:
        return Store(cache_directory(self.plan.request) / LAYERS, self.listen)


@contextmanager
def root_tree(making: Making) -> Generator[None, None, None]:
    """Have the tree of root.d, with an overlay above it; on leaving, it is in the cache too.

    Only a tree whose inputs are all known is cached: see `plan.digest.root`.
    """
    step = None if making.plan.request.no_cache else _identify(making)
    if step is None:
        _make(making)
        yield
        return
    store = making.store
    with ExitStack() as stack:
        stack.enter_context(store.claim(step.id, lambda: _say(making, "another build makes it")))
        if making.plan.request.refresh:
            store.discard(step.id)
        making.lasting.enter_context(store.hold([step.id]))
        layer = None if making.plan.request.refresh else store.find(step.id)
        if layer:
            stack.close()
            store.used(step.id)
            _say(making, f"taken from the cache ({step.id[:12]})")
            making.listen(Started(ROOT))
            _overlay(making, layer.tree)
            making.listen(Finished(ROOT, 0, 0.0, cached=True))
        elif _make(making):
            stack.enter_context(_kept(making, store, step))
        yield


def prune(making: Making) -> None:
    """Remove from the cache what is too old, or too much."""
    downloads = Downloads(making.store.root.with_name(DIRECTORY), making.listen)
    bound.prune(making.store, downloads, limits(making.plan.request.environment))


def _identify(making: Making) -> StepId | None:
    """The tree's content id; None, with a remark, if not all that it depends on is known."""
    if digest.root(making.plan, {}) is None:
        return None
    try:
        return digest.root(making.plan, _fingerprints(making))
    except HookError as error:
        _say(making, f"not cached: {error}")
        return None


@contextmanager
def _kept(making: Making, store: Store, step: StepId) -> Generator[None, None, None]:
    """Copy the tree into the store while the body runs, even if a later hook fails."""
    after = _identify(making)
    if after is None or after.id != step.id:
        _say(making, "not cached: the package mirror changed meanwhile")
        yield
        return
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(store.draft())
        except BuildError as error:
            _say(making, f"not cached: {error}")
            yield
            return
        copying = stack.enter_context(
            process.started(_copying(making.place.scratch / "root", draft.tree))
        )
        try:
            yield
        except Interrupted:
            raise
        except BuildError:
            _commit(making, store, step, draft, copying)
            raise
        _commit(making, store, step, draft, copying)


def _copying(source: Path, target: Path) -> Command:
    return Command(("cp", "--archive", "--no-target-directory", str(source), str(target)))


def _commit(
    making: Making, store: Store, step: StepId, draft: Draft, copying: process.Program
) -> Layer | None:
    output = copying.stdout.read() if copying.stdout else b""
    if copying.wait():
        _say(making, f"not cached: {output.decode(errors='replace').strip()}")
        return None
    return store.commit(draft, step.id, Origin(step="root", inputs=step.inputs))


def _make(making: Making) -> bool:
    """Run root.d in an empty directory; whether its tree now lies untouched in `root`.

    It does not if a hook has left something mounted in it.
    """
    tree = making.place.tree
    making.run()
    if kernel.mounts_below(tree):
        return False
    finish.clamp_times(tree, making.plan.epoch)
    tree.rename(making.place.scratch / "root")
    tree.mkdir()
    _overlay(making, making.place.scratch / "root")
    return True


def _overlay(making: Making, lower: Path) -> None:
    """Mount an overlay above `lower`; where the kernel refuses that, copy."""
    upper, work = making.place.scratch / "upper", making.place.scratch / "work"
    upper.mkdir()
    work.mkdir()
    status = lower.stat()
    upper.chmod(status.st_mode & 0o7777)
    os.chown(upper, status.st_uid, status.st_gid)
    os.utime(upper, ns=(status.st_atime_ns, status.st_mtime_ns))
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    for more in (",redirect_dir=off,metacopy=off", ",userxattr"):
        with suppress(OSError):
            kernel.mount("overlay", making.place.tree, "overlay", options=options + more)
            return
    _say(making, "copied, because the kernel refuses an overlay here")
    process.run(_copying(lower, making.place.tree))


def _fingerprints(making: Making) -> dict[str, str]:
    return fingerprints(
        Work(
            phase=PHASES[0],
            place=making.place,
            tree=making.plan.draft.tree,
            variables=making.plan.draft.variables,
            listen=making.listen,
            secrets=making.plan.secrets,
        )
    )


def _say(making: Making, text: str) -> None:
    making.listen(Said(f"root tree: {text}"))

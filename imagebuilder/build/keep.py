"""Puts layers into the store while the build goes on; nobody writes to them any more.

A layer can be kept once the one below it is, so they are committed in their order.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder import process
from imagebuilder.build.overlay import copying
from imagebuilder.cache import entry, manifest
from imagebuilder.cache.model import Draft, Layer, Origin
from imagebuilder.cache.store import Store
from imagebuilder.disk.image import stamp, stamped
from imagebuilder.errors import BuildError, Interrupted
from imagebuilder.plan.digest import StepId

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Pending:
    step: StepId
    source: Path
    draft: Draft
    copying: process.Program
    held: ExitStack  # the draft, and the claim on its key


@dataclass(slots=True)
class Keeper:
    """Layers on their way into the store.

    `parent` is the layer below the next one; `broken`: nothing above can be kept any more.
    """

    store: Store
    say: Say
    parent: Layer | None = None
    broken: bool = False
    waiting: deque[_Pending] = field(default_factory=deque)
    stamps: dict[bytes, bytes] = field(default_factory=dict)  # of files, and of the store's copies

    @property
    def above(self) -> Layer | None:
        """The layer that the tree is based on, if that is in the store already."""
        return None if self.waiting or self.broken else self.parent

    def keep(self, step: StepId, source: Path, claim: ExitStack) -> None:
        """Begin to copy a layer; `claim` is closed when it is in the store, or will not be."""
        held = ExitStack()
        held.push(claim.pop_all())
        if self.broken:
            held.close()
            return
        try:
            draft = held.enter_context(self.store.draft())
        except Interrupted:
            held.close()
            raise
        except BuildError as error:
            held.close()
            self.stop(f"not cached: {error}")
            return
        program = held.enter_context(process.started(copying(source, draft.tree)))
        self.waiting.append(_Pending(step, source, draft, program, held))

    def stop(self, reason: str) -> None:
        """Keep nothing more, and say why."""
        if not self.broken and reason:
            self.say(reason)
        self.broken = True

    def poll(self, steps: Collection[str]) -> None:
        """Commit what has been copied by now of these steps, so that other builds need not wait."""
        while self.waiting and self.waiting[0].step.phase in steps:
            if self.waiting[0].copying.poll() is None:
                return
            self._commit(self.waiting.popleft())

    def finish(self) -> None:
        """Wait for all copies, and commit them."""
        while self.waiting:
            self._commit(self.waiting.popleft())

    def drop(self) -> None:
        """Give up what is not in the store yet."""
        while self.waiting:
            self.waiting.pop().held.close()
        self.broken = True

    def _commit(self, pending: _Pending) -> None:
        with pending.held:
            output = pending.copying.stdout.read() if pending.copying.stdout else b""
            if pending.copying.wait():
                said = output.decode(errors="replace").strip().partition("\n")[0]
                self.stop(f"not cached: {said}")
            if self.broken:
                return
            origin = Origin(step=pending.step.phase, parent=self.parent, inputs=pending.step.inputs)
            inode = pending.draft.tree.stat().st_ino
            self.parent = self.store.commit(pending.draft, pending.step.id, origin)
            # Another build's layer is as good, but not the one that the next layers were made on.
            self.broken = self.parent is None or self.parent.tree.stat().st_ino != inode
            if self.parent and not self.broken:
                self.stamps |= _stamps(pending.source, self.parent)


def _stamps(source: Path, layer: Layer) -> dict[bytes, bytes]:
    """What stands for the layer's files where they were made, and what does in the store."""
    kept = entry.rows(layer)
    return {
        stamp(status): stamped(inode, size, modified, changed)
        for path, status in manifest.walk(source)
        if stat.S_ISREG(status.st_mode) and path in kept
        for *_, size, _, modified, changed, inode in [manifest.ROW.unpack(kept[path])]
    }


@contextmanager
def keeping(keeper: Keeper) -> Generator[None, None, None]:
    """Keep what is complete even if a later hook fails, but do not make a signal wait."""
    try:
        yield
    except Interrupted:
        keeper.drop()
        raise
    except BuildError:
        keeper.finish()
        raise
    except BaseException:
        keeper.drop()
        raise

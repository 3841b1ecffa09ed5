"""The store itself: layers are made beside it, appear in it whole, and leave it the same way.

    entries/<key>/      one layer each (`entry.py`)
    drafts/<random>/    being written, by whoever holds its `lock`
    drafts/<key>.<random>/   being removed
    locks/<key>.claim   held by the one who makes the layer
    locks/<key>.hold    held by all who use it
    names/<name>.json   what the last build of an image was made from (`history.py`)

Nothing of it can fail a build: what is damaged counts as absent, and what cannot be kept is not.
A layer that was found may be removed by others unless it is held, so hold first, then find.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from imagebuilder.cache import entry, lock
from imagebuilder.cache.model import (
    AbsentError,
    DamagedError,
    Draft,
    ForeignError,
    Layer,
    Origin,
    UnusableError,
    checked_key,
    is_key,
)
from imagebuilder.cache.remove import remove
from imagebuilder.errors import BuildError, ConfigError, SpaceError
from imagebuilder.events import Listener, Said, ignore

PARTS = ("entries", "drafts", "locks", "names")
ENTRY, LOCK = "entry", "lock"  # in a draft
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
FULL = (errno.ENOSPC, errno.EDQUOT)
SHORT = 12  # digits of a key that are shown
NOTHING: Mapping[str, Layer] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Store:
    """The layers below `root`, which is made when something is first kept."""

    root: Path
    listener: Listener = ignore

    @property
    def writable(self) -> bool:
        """Whether layers can be kept; a store that cannot be written to is still used."""
        return os.access(self.root / "drafts", os.W_OK | os.X_OK)

    def make(self) -> None:
        """Make the directories; raise ConfigError, or SpaceError if there is no room."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in PARTS:
                (self.root / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _explained(error, self.root) from error
        if not self.writable:
            raise _explained(OSError(errno.EACCES, os.strerror(errno.EACCES)), self.root)

    def find(self, key: str) -> Layer | None:
        """The layer, if it is there and nothing about it has changed; what is damaged goes."""
        try:
            return self.read(key, check=True)
        except DamagedError as damage:
            if self.discard(key, still=lambda: self._is_damaged(key)) or self._is_damaged(key):
                self._warn(f"cached layer {key[:SHORT]} cannot be used: {shortened(damage.faults)}")
        except UnusableError:
            pass
        return None

    def chain(self, key: str, held: Mapping[str, Layer] = NOTHING) -> tuple[Layer, ...]:
        """The layer and all below it, the lowest first; empty if one of them is no hit.

        Those in `held`, by key, were found before and held since; they are not looked at again.
        """
        layers: list[Layer] = []
        while key:
            layer = held.get(key) or self.find(key)
            if layer is None or any(key == other.key for other in layers):
                return ()
            layers.append(layer)
            key = layer.parent
        return tuple(reversed(layers))

    def read(self, key: str, *, check: bool = False) -> Layer:
        """The layer as it was written down; with `check` its tree is looked at too.

        Raise one of the UnusableErrors: so is a layer whose parent is not the one it was made on.
        """
        layer = entry.read(self._entry(key), key)
        if layer.parent:
            self._check_parent(layer)
        if check:
            entry.check(layer)
        return layer

    def keys(self) -> tuple[str, ...]:
        """The keys of all entries, whatever their state."""
        with suppress(OSError):
            names = sorted(path.name for path in (self.root / "entries").iterdir())
            return tuple(name for name in names if is_key(name))
        return ()

    def entries(self) -> tuple[Layer, ...]:
        """All layers that say of themselves that they are usable; trees are not looked at."""
        layers = []
        for key in self.keys():
            with suppress(UnusableError):
                layers.append(entry.read(self._entry(key), key))
        return tuple(layers)

    @contextmanager
    def draft(self) -> Generator[Draft, None, None]:
        """Room for a new layer; on leaving, what was not committed is removed.

        Raise ConfigError or SpaceError if there is none.
        """
        self.make()
        with ExitStack() as stack:
            try:
                directory = stack.enter_context(self._place(secrets.token_hex(8)))
                draft = Draft(tree=directory / ENTRY / entry.TREE, work=directory / "work")
                draft.work.mkdir(mode=0o700)
                draft.tree.mkdir(mode=0o755, parents=True)
                draft.tree.chmod(0o755)
            except OSError as error:
                raise _explained(error, self.root) from error
            yield draft

    def commit(self, draft: Draft, key: str, origin: Origin) -> Layer | None:
        """Keep the tree of a draft, which nobody writes to or has mounted any more.

        If the key has appeared meanwhile, the other one is kept and returned. None if it cannot
        be kept, for want of room or otherwise: then the draft's tree is still where it was.
        The draft's work directory is emptied.
        """
        checked_key(key)
        try:
            with suppress(FileNotFoundError):
                remove(
                    draft.work
                )  # overlayfs has a link to its whiteouts there: their ctime changes
            draft.work.mkdir(mode=0o700, exist_ok=True)
            return self._commit(draft.tree.parent, key, origin)
        except OSError as error:
            self._warn(f"the layer of {origin.step} is not cached: {error.strerror}")
        except UnusableError as error:
            self._warn(f"the layer of {origin.step} is not cached: {error}")
        return None

    @contextmanager
    def claim(
        self, key: str, waiting: Callable[[], None] = lambda: None
    ) -> Generator[None, None, None]:
        """Be the only one who makes this layer; look for it again once you are.

        While another does, `waiting` is called once, and then waited until it ends or dies.
        """
        with suppress(ConfigError, SpaceError):
            self.make()
        with ExitStack() as stack:
            if self.writable:
                stack.enter_context(lock.exclusive(self._lock(key, "claim"), waiting))
            yield

    def hold(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Keep others from removing layers, those included that are not there yet."""
        with suppress(ConfigError, SpaceError):
            self.make()
        return lock.shared(*(self._lock(key, "hold") for key in keys))

    def used(self, key: str) -> None:
        """Note that the layer is of use."""
        with suppress(OSError):
            os.utime(self._entry(key) / entry.USED)

    def discard(self, key: str, still: Callable[[], bool] = lambda: True) -> bool:
        """Remove an entry unless somebody holds it, or `still` is False once nobody can.

        Return whether it was removed.
        """
        with ExitStack() as stack:
            free = self.writable and stack.enter_context(lock.attempt(self._lock(key, "hold")))
            if not free or not still():
                return False
            try:
                place = self._place(f"{checked_key(key)}.{secrets.token_hex(8)}")
                self._entry(key).rename(stack.enter_context(place) / ENTRY)
            except OSError:
                return False
        return True

    def settle(self, layers: Iterable[Layer]) -> None:
        """Wait until layers are on the disk: after a restart, no others are hits."""
        entries = [layer.tree.parent for layer in layers] if self.writable else []
        entry.settle(path for path in entries if not (path / entry.SETTLED).exists())

    def sweep(self) -> None:
        """Remove what builders that have died were writing or removing."""
        if not self.writable:
            return
        for directory in tuple((self.root / "drafts").iterdir()):
            with ExitStack() as stack:
                key, _, rest = directory.name.partition(".")
                doomed = self._lock(key, "hold") if rest and is_key(key) else None
                if doomed is None or stack.enter_context(lock.attempt(doomed)):
                    self._sweep(directory)

    def _sweep(self, directory: Path) -> None:
        with suppress(OSError):
            with lock.exclusive(self.root / "locks" / "drafts"):  # nobody is between mkdir and lock
                fd = lock.acquire(directory / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                remove(directory)
            finally:
                lock.release(fd)

    def _commit(self, made: Path, key: str, origin: Origin) -> Layer | None:
        layer = entry.write(made, key, origin)
        if layer.parent:
            self._check_parent(layer)
        target = self._entry(key)
        try:
            made.rename(target)
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
            if other := self._other(key):
                return other
            self._replace(key, made)
        return replace(layer, tree=target / entry.TREE)

    def _other(self, key: str) -> Layer | None:
        """The good layer that is there; raise ForeignError if it is not ours to judge."""
        with suppress(AbsentError, DamagedError):
            return self.read(key, check=True)
        return None

    def _replace(self, key: str, made: Path) -> None:
        """Put `made` in the place of a damaged entry, even where that is held."""
        with self._lasting(f"{key}.{secrets.token_hex(8)}") as directory:
            with suppress(FileNotFoundError):
                self._entry(key).rename(directory / ENTRY)
            made.rename(self._entry(key))
        self.sweep()

    @contextmanager
    def _place(self, name: str) -> Generator[Path, None, None]:
        """A directory among the drafts, ours until we leave or die, and removed on leaving."""
        with self._lasting(name) as directory:
            try:
                yield directory
            finally:
                try:
                    remove(directory)
                except OSError as error:
                    self._warn(f"{directory} cannot be removed: {error.strerror}")

    @contextmanager
    def _lasting(self, name: str) -> Generator[Path, None, None]:
        """A directory among the drafts that is left to the next sweep."""
        directory = self.root / "drafts" / name
        with lock.shared(self.root / "locks" / "drafts"):
            directory.mkdir(mode=0o700)
            fd = lock.acquire(directory / LOCK, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            lock.release(fd)

    def _check_parent(self, layer: Layer) -> None:
        try:
            below = entry.read(self._entry(layer.parent), layer.parent)
        except ForeignError:
            raise
        except UnusableError as error:
            raise DamagedError("the layer below it is gone") from error
        if below.stamp != layer.below:
            raise DamagedError("the layer below it was made anew")

    def _is_damaged(self, key: str) -> bool:
        try:
            self.read(key, check=True)
        except DamagedError:
            return True
        except UnusableError:
            pass
        return False

    def _entry(self, key: str) -> Path:
        return self.root / "entries" / checked_key(key)

    def _lock(self, key: str, purpose: str) -> Path:
        return self.root / "locks" / f"{checked_key(key)}.{purpose}"

    def _warn(self, text: str) -> None:
        self.listener(Said(text, warning=True))


def shortened(faults: Sequence[str], most: int = 3) -> str:
    """The first of many faults, and how many more there are."""
    more = len(faults) - most
    return ", ".join(faults[:most]) + (f" and {more} more" if more > 0 else "")


def _explained(error: OSError, root: Path) -> BuildError:
    if error.errno in FULL:
        return SpaceError(
            "no room for cached layers", where=str(root), hint="try 'imagebuilder cache prune'"
        )
    return ConfigError(
        f"no place for cached layers: {error.strerror}",
        where=str(root),
        hint="set DIB_IMAGE_CACHE to a directory that can be written to",
    )

"""Reads layers whole, and says whether they are what they were when they were last read."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from imagebuilder.cache import entry, manifest
from imagebuilder.cache.model import DamagedError, ForeignError, Layer, UnusableError
from imagebuilder.cache.store import Store

DIGESTS = "digests"  # in an entry: paths, a zero byte and a digest each, after a digest of all
THREADS = 2
DIGEST = hashlib.sha256().digest_size


class State(Enum):
    """How much is known of a layer."""

    ABSENT = "not there"
    FOREIGN = "not checked"
    METADATA = "metadata checked"
    CONTENT = "content checked"
    RECORDED = "metadata checked, digests recorded"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one layer; `faults` say why it is not fine, `removed` that it is gone."""

    key: str
    state: State
    step: str = ""
    faults: tuple[str, ...] = ()
    removed: bool = False


def verify(store: Store, key: str, *, digest: bool = False) -> Verdict:
    """Check one layer, and remove it if it is damaged and nobody holds it.

    Contents are checked against digests, where `digest` had them recorded. Raise OSError if they
    cannot be recorded.
    """
    stamp = ""
    try:
        with store.hold((key,)):
            layer = store.read(key)
            stamp = layer.stamp
            entry.check(layer)
            state = _check_content(layer)
            if digest and state is State.METADATA:
                record(layer)
                state = State.RECORDED
            return Verdict(key=key, step=layer.step, state=state)
    except DamagedError as damage:
        removed = store.discard(key, still=lambda: _is_same(store, key, stamp))
        return Verdict(key=key, state=State.DAMAGED, faults=damage.faults, removed=removed)
    except ForeignError as error:
        return Verdict(key=key, state=State.FOREIGN, faults=(str(error),))
    except UnusableError:
        return Verdict(key=key, state=State.ABSENT)


def record(layer: Layer) -> None:
    """Write down digests of all contents, for the next `verify`; raise OSError."""
    rows = b"".join(path + b"\0" + digest for path, digest in digests(layer.tree).items())
    path = layer.tree.parent / DIGESTS
    temporary = path.with_name(f".{DIGESTS}.{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(hashlib.sha256(rows).digest() + rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digests(tree: Path) -> dict[bytes, bytes]:
    """The digest of each inode's content and extended attributes, by path; raise OSError."""
    found = sorted((path, status.st_mode) for path, status in manifest.walk(tree))
    parts = [found[start::THREADS] for start in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        done = pool.map(
            lambda part: [(path, _digest(tree, path, mode)) for path, mode in part], parts
        )
        return dict(sorted(row for rows in done for row in rows))


def _is_same(store: Store, key: str, stamp: str) -> bool:
    """Whether this is still the damaged entry, and not a new one in its place."""
    try:
        return store.read(key).stamp == stamp
    except DamagedError:
        return True
    except UnusableError:
        return False


def _digest(tree: Path, path: bytes, mode: int) -> bytes:
    place = tree / os.fsdecode(path)
    digest = hashlib.sha256()
    for name in sorted(os.listxattr(place, follow_symlinks=False)):
        value = os.getxattr(place, name, follow_symlinks=False)
        digest.update(b"%s\0%d\0%s" % (os.fsencode(name), len(value), value))
    if stat.S_ISLNK(mode):
        digest.update(b"\0" + os.fsencode(os.readlink(place)))  # ruff: ignore[os-readlink] - Path would tidy it
    elif stat.S_ISREG(mode):
        digest.update(b"\0")
        with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.digest()


def _check_content(layer: Layer) -> State:
    """CONTENT if it is what was recorded, METADATA if nothing was; raise DamagedError."""
    try:
        text = (layer.tree.parent / DIGESTS).read_bytes()
    except FileNotFoundError:
        return State.METADATA
    rows = text[DIGEST:]
    if hashlib.sha256(rows).digest() != text[:DIGEST]:
        raise DamagedError(f"{DIGESTS} has changed")
    try:
        found = digests(layer.tree)
    except OSError as error:
        raise DamagedError(f"{error.filename}: {error.strerror}") from error
    changed = [path for path, known in _parse(rows).items() if found.get(path) != known]
    if changed:
        raise DamagedError(*(f"{manifest.shown(path)} has another content" for path in changed))
    return State.CONTENT


def _parse(rows: bytes) -> dict[bytes, bytes]:
    known, start = {}, 0
    while start < len(rows):
        end = rows.index(b"\0", start)
        known[rows[start:end]] = rows[end + 1 : end + 1 + DIGEST]
        start = end + 1 + DIGEST
    return known

"""One entry of the store: how it is written down, and whether it still is what it was.

tree/       the layer
manifest    what every inode of it looked like (`manifest.py`)
meta.json   what the layer is, with a digest of itself and of the manifest
used        an empty file whose mtime is that of the last use
settled     an empty file, made once the layer is known to be on the disk
digests     of the contents, made by `verify` when asked for
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagebuilder.cache import manifest
from imagebuilder.cache.model import (
    FORMAT,
    AbsentError,
    DamagedError,
    ForeignError,
    Layer,
    Origin,
)
from imagebuilder.sizes import Size

OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no fault of the entry
TREE, MANIFEST, META, USED, SETTLED = "tree", "manifest", "meta.json", "used", "settled"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class World:
    """What numbers of users mean here, and since when the machine runs.

    The same file has other owners in another user namespace. After a power cut a file may have
    its new times and its old content, so what was not `settled` is not trusted after a start.
    """

    users: str
    boot: str

    @classmethod
    def here(cls) -> World:
        """This process's (`user_namespaces(7)`, `random(4)`)."""
        maps = [_text(f"/proc/self/{name}_map").split() for name in ("uid", "gid")]
        users = "; ".join(" ".join(words) for words in maps)
        return cls(users, _text("/proc/sys/kernel/random/boot_id").strip())


def write(entry: Path, key: str, origin: Origin) -> Layer:
    """Write down what the tree in `entry` is; raise OSError."""
    found = manifest.scan(entry / TREE)
    world, parent = World.here(), origin.parent
    fields = {
        "format": FORMAT,
        "id": key,
        "step": origin.step,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": int(found.size),
        "inodes": found.inodes,
        "parent": parent.key if parent else "",
        "below": parent.stamp if parent else "",
        "inputs": [list(pair) for pair in origin.inputs.items()],
        "manifest": hashlib.sha256(found.manifest).hexdigest(),
        "users": world.users,
        "boot": world.boot,
    }
    (entry / MANIFEST).write_bytes(found.manifest)
    (entry / META).write_bytes(encode(fields))
    (entry / USED).touch()
    return _layer(entry, fields)


def read(entry: Path, key: str) -> Layer:
    """The layer that `entry` says it is; raise one of the UnusableErrors.

    The tree is not looked at.
    """
    fields = _fields(entry)
    world = World.here()
    if fields["format"] != FORMAT:
        raise ForeignError(f"it has format {fields['format']}, not {FORMAT}")
    if fields["users"] != world.users:
        raise ForeignError("it was made in another user namespace")
    if fields["id"] != key:
        raise DamagedError(f"{META} is that of another layer")
    if fields["boot"] != world.boot and not (entry / SETTLED).exists():
        raise DamagedError("it may not have reached the disk before the machine stopped")
    return _layer(entry, fields)


def check(layer: Layer) -> None:
    """Look at every inode of the layer; raise DamagedError with what has changed."""
    try:
        known = (layer.tree.parent / MANIFEST).read_bytes()
        found = manifest.scan(layer.tree)
    except OSError as error:
        fault = f"{error.filename or layer.tree}: {error.strerror}"
        raise (ForeignError if error.errno in OURS else DamagedError)(fault) from error
    if hashlib.sha256(known).hexdigest() != layer.stamp:
        raise DamagedError(f"{MANIFEST} has changed")
    if found.manifest != known:
        raise DamagedError(*manifest.differences(known, found.manifest))


def rows(layer: Layer) -> dict[bytes, bytes]:
    """What every inode of the layer looked like when it was written down, by its path."""
    return manifest.rows((layer.tree.parent / MANIFEST).read_bytes())


def settle(entries: Iterable[Path]) -> None:
    """Wait until entries of one filesystem are on the disk (`syncfs(2)`), and mark them so."""
    with ExitStack() as stack:
        opened = []
        for path in entries:
            with suppress(OSError):
                opened.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
        if opened and _libc.syncfs(opened[0]) == 0:
            for fd in opened:
                with suppress(OSError):
                    os.close(os.open(SETTLED, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd))


def encode(fields: Mapping[str, Any]) -> bytes:
    """A document that `decode` recognises only if not a byte of it has changed."""
    digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return json.dumps({**fields, "digest": digest}, indent=1).encode() + b"\n"


def decode(text: bytes) -> dict[str, Any]:
    """The fields that were encoded; raise DamagedError for anything else."""
    try:
        fields = json.loads(text)
        del fields["digest"]
        if encode(fields) == text:
            return dict(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{META} is not whole") from error
    raise DamagedError(f"{META} has changed")


def _fields(entry: Path) -> dict[str, Any]:
    try:
        return decode((entry / META).read_bytes())
    except OSError as error:
        if entry.exists() or entry.is_symlink():
            raise DamagedError(f"{META} cannot be read: {error.strerror}") from error
        raise AbsentError("there is no such layer") from error


def _layer(entry: Path, fields: Mapping[str, Any]) -> Layer:
    return Layer(
        key=fields["id"],
        tree=entry / TREE,
        step=fields["step"],
        created=datetime.fromisoformat(fields["created"]),
        used=_last_use(entry) or datetime.fromisoformat(fields["created"]),
        size=Size(fields["size"]),
        inodes=fields["inodes"],
        parent=fields["parent"],
        below=fields["below"],
        inputs=dict(fields["inputs"]),
        stamp=fields["manifest"],
    )


def _last_use(entry: Path) -> datetime | None:
    with suppress(OSError):
        return datetime.fromtimestamp((entry / USED).stat().st_mtime, UTC)
    return None


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""

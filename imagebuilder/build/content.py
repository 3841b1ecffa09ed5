"""The digest of what a step has made, for steps whose inputs do not say it.

Where a hook may have read anything, the next step depends on what came of it. If that is what
came of it the last time, the layers above still fit.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from imagebuilder.cache.manifest import walk

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")  # the other marks are overlayfs's own
OVERLAY = ("trusted.overlay.", "user.overlay.")
LENT = (b"etc/resolv.conf",)  # the build host's while the build lasts


def of_trees(*trees: Path, epoch: int) -> str:
    """The SHA-256 of everything in these trees, with no file younger than `epoch` (seconds).

    Raise OSError.
    """
    digest = hashlib.sha256()
    for tree in trees:
        for path, status in sorted(walk(tree), key=lambda pair: pair[0]):
            if path not in LENT:
                for part in _parts(tree, path, status, epoch):
                    digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parts(tree: Path, path: bytes, status: os.stat_result, epoch: int) -> Iterator[bytes]:
    file = tree / os.fsdecode(path)
    time = min(status.st_mtime_ns, epoch * 10**9)
    yield path
    yield repr((status.st_mode, status.st_uid, status.st_gid, status.st_rdev, time)).encode()
    if stat.S_ISREG(status.st_mode):
        with file.open("rb") as opened:
            yield hashlib.file_digest(opened, "sha256").digest()
    elif stat.S_ISLNK(status.st_mode):
        yield bytes(file.readlink())
    for name in sorted(os.listxattr(file, follow_symlinks=False)):
        if name in OPAQUE or not name.startswith(OVERLAY):
            yield name.encode() + b"=" + os.getxattr(file, name, follow_symlinks=False)

"""A squashfs image changed on its way from one tar stream to another, or put in a layer on top."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.initrd import source
from imagebuilder.initrd.additions import placed
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.remaster import output, tartree
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.tartree import Edit, TreeChanges
from imagebuilder.squashfs import stream, superblock
from imagebuilder.squashfs.superblock import Superblock

USUAL = Superblock(
    compressor="zstd", options=(), block=2**17, exportable=True, xattrs=True, inodes=0, used=0
)
WHITEOUT = stat.S_IFCHR  # a device 0:0: what overlayfs takes for "deleted"


def listing(image: Path) -> Rootfs:
    """All files of an image; raise ConfigError if it is none, or cut off."""
    superblock.load(image)
    with stream.members(image) as archive:
        return tartree.listing(archive)


def read(image: Path, path: str) -> Iterator[bytes]:
    """The content of a file, symlinks followed, piece by piece; raise ConfigError without one."""
    root = listing(image)
    real, file = root.find(path, str(image))
    if not stat.S_ISREG(file.mode):
        raise ConfigError(f"{real} is no regular file", where=str(image))
    with stream.members(image) as archive:
        for name, member in stream.names(archive):
            content = archive.extractfile(member) if name in file.names and member.isreg() else None
            while content and (piece := content.read(2**20)):
                yield piece


def rewrite(image: Path, target: Target, changes: TreeChanges) -> None:
    """Write the image with the changes to the target, made as the old one was.

    Raise ConfigError for what cannot be read or done; nothing is written then.
    """
    output.check(image, target)
    like = superblock.load(image)
    root = listing(image)
    edit = tartree.plan(root, changes, str(image))
    output.made(target, lambda path: _rewritten(image, path, edit, like), 2 * like.used + 2**20)


def layer(target: Target, changes: TreeChanges, base: Path | None = None) -> None:
    """Write a new image that, stacked on `base`, adds files and hides deleted ones.

    Raise ConfigError if there is nothing to put in it, or no file to hide.
    """
    if changes.replace or changes.patches:
        raise ConfigError("texts can be changed in an image, not in a layer", where="layer")
    if base:
        output.check(base, target)
    root = listing(base) if base else Rootfs()
    like = superblock.load(base) if base else USUAL
    where = str(base or target.path)
    wanted = [entry for wish in changes.add for entry in source.load(wish, root, changes.epoch)]
    hidden = [root.real(path, follow=False) for path in changes.delete]
    if missing := [path for path in hidden if base and path not in root]:
        raise ConfigError(f"{missing[0]} is not in it", where=where, hint=root.near(missing[0]))
    if not wanted and not hidden:
        raise ConfigError("nothing to do: neither files nor deletions", where=where)
    wanted += [Entry(name=path, mode=WHITEOUT, mtime=changes.epoch) for path in hidden]
    empty = Rootfs()
    real = [_real(root, entry) for entry in wanted]
    entries = [_like_base(root, entry) for entry in placed(empty, real, where)]
    output.made(target, lambda path: _layered(path, entries, like), 2**30)


def _rewritten(image: Path, path: Path, edit: Edit, like: Superblock) -> None:
    with stream.writer(path, like) as target, stream.members(image) as archive:
        tartree.rewrite(archive, target, edit)
    _check(path, image, edit)


def _layered(path: Path, entries: Iterable[Entry], like: Superblock) -> None:
    with stream.writer(path, like) as target:
        for entry in entries:
            target.addfile(*tartree.member_of(entry))


def _real(root: Rootfs, entry: Entry) -> Entry:
    return replace(entry, name=root.real(entry.name, follow=stat.S_ISDIR(entry.mode)))


def _like_base(root: Rootfs, entry: Entry) -> Entry:
    """A directory has the owner and mode that it has below: the layer's own would be seen."""
    there = root.files.get(entry.name)
    if there and stat.S_ISDIR(entry.mode) and stat.S_ISDIR(there.mode):
        return replace(entry, mode=there.mode, uid=there.uid, gid=there.gid, mtime=there.mtime)
    return entry


def _check(path: Path, image: Path, edit: Edit) -> None:
    """Raise BuildError unless the new image has the names that it should have."""
    expected = ({*listing(image).files} - edit.gone) | {entry.name for entry in edit.new}
    if wrong := sorted({*listing(path).files} ^ expected):
        what = f"the new image does not hold what it should: {', '.join(wrong[:3])}"
        raise BuildError(what, where=str(image))

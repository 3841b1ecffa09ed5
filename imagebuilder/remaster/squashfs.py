"""A squashfs image changed on its way from one tar stream to another, or put in a layer on top."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

from imagebuilder import patching, process
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.formats import tar
from imagebuilder.initrd import source
from imagebuilder.initrd.additions import placed
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import File, Rootfs
from imagebuilder.initrd.source import Wish
from imagebuilder.remaster import output
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.output import Target
from imagebuilder.squashfs import rawtar, stream, superblock
from imagebuilder.squashfs.image import Image, opened
from imagebuilder.squashfs.rawtar import Raw
from imagebuilder.squashfs.superblock import Superblock

MEMBERS = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFIFO: tarfile.FIFOTYPE,
}  # fmt: skip
USUAL = Superblock(
    compressor="zstd", options=(), block=2**17, exportable=True, xattrs=True, inodes=0, used=0
)
ACL = {"system.posix_acl_access", "system.posix_acl_default"}
WHITEOUT = stat.S_IFCHR  # a device 0:0: what overlayfs takes for "deleted"
KERNELS_OWN = ("proc", "sys")  # of these a root filesystem has the directories only
Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeChanges:
    """What is to be different: `delete`, then `add`, `replace` texts, apply `patches`.

    New files are dated `epoch`.
    """

    delete: tuple[str, ...] = ()
    add: tuple[Wish, ...] = ()
    replace: tuple[Substitution, ...] = ()
    patches: tuple[Path, ...] = ()
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The changes worked out for one image, by real path.

    `heirs` are names that get the content of a deleted first name of the same file; `names` is
    all that there is afterwards.
    """

    gone: frozenset[str]
    new: tuple[Entry, ...]
    contents: Mapping[str, tuple[Change, ...]]
    names: frozenset[str]
    heirs: Mapping[str, str] = field(default_factory=dict)


def listing(image: Path) -> Rootfs:
    """All files of an image; raise ConfigError if it is none, or cut off."""
    return listed(opened(image))


def listed(image: Image) -> Rootfs:
    """All files of an image that lies anywhere, in the order in which its stream has them."""
    root, ids = Rootfs(), image.owners()
    known: dict[int, File] = {}
    for path, inode in image.files():
        if inode.number not in known:
            file = File(
                inode.mode, ids[inode.owner], ids[inode.group], inode.mtime, inode.rdev,
                inode.target,
            )  # fmt: skip
            file.size = inode.size if stat.S_ISREG(inode.mode) else 0
            known[inode.number] = file
        root.files[path] = known[inode.number]
        root.files[path].names.add(path)
    return root


def read(image: Path, path: str) -> Iterator[bytes]:
    """The content of a file, symlinks followed, piece by piece; raise ConfigError without one."""
    root = listing(image)
    real, file = root.find(path, str(image))
    if not stat.S_ISREG(file.mode):
        raise ConfigError(f"{real} is no regular file", where=str(image))
    source = opened(image)
    yield from source.pieces(next(inode for name, inode in source.files() if name == real))


def rewrite(image: Path, target: Target, changes: TreeChanges) -> None:
    """Write the image with the changes to the target, made as the old one was.

    Raise ConfigError for what cannot be read or done; nothing is written then.
    """
    output.check(image, target)
    like = superblock.load(image)
    root = listing(image)
    edit = tried(opened(image), plan(root, changes, str(image)))
    needed = 2 * like.used + source.measure(changes.add) + 2**20
    output.made(target, lambda path: write(image, path, edit), needed)


def unpack(image: Path, directory: Path) -> None:
    """Write the whole image to a directory, with owners and devices: that takes root."""
    superblock.load(image)
    with (
        process.reading(stream.unpack(image)) as archive,
        process.writing(stream.extract(directory)) as sink,
    ):
        shutil.copyfileobj(archive, sink, 2**20)


def with_acls(tree: Path) -> list[str]:
    """The files that have ACLs, which squashfs cannot hold."""
    return [
        str(path.relative_to(tree))
        for path in sorted(tree.rglob("*"))
        if not path.is_symlink() and ACL & {*os.listxattr(path)}
    ]


def pack(tree: Path, target: Path, like: Superblock, epoch: int) -> None:
    """Write a directory's files to a new image, made as another was; nothing is younger."""
    with stream.making(target, like) as sink:
        archive = partial(tar.archive, tree, epoch=epoch, empty=KERNELS_OWN)
        for piece in tar.archived(archive):
            sink.write(piece)


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
    stream.check(like, str(base or target.path))
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
    needed = source.measure(changes.add) + 2**20
    output.made(target, lambda path: _layered(path, entries, like), needed)


def tried(image: Image, edit: Edit) -> Edit:
    """The same, once every change of a text fits; raise ConfigError for one that does not.

    Raise ToolMissingError if the image could not be compressed again as it is.
    """
    stream.check(image.made, image.where)
    for path, inode in image.files() if edit.contents else ():
        if path in edit.contents:
            content = b"".join(image.pieces(inode))
            for change in edit.contents[path]:
                content = change(content)
    return edit


def plan(root: Rootfs, changes: TreeChanges, where: str) -> Edit:
    """Work out the changes; raise ConfigError if there are none, or a path is not there."""
    gone: set[str] = set()
    for path in changes.delete:
        real = root.real(path, follow=False)
        if real not in root:
            raise ConfigError(f"{path} is not in it", where=where, hint=root.near(path))
        gone |= {real, *root.below(real)}
    wanted = [entry for wish in changes.add for entry in source.load(wish, root, changes.epoch)]
    new = placed(_without(root, gone), wanted, where)
    contents: dict[str, tuple[Change, ...]] = {}
    for path, change in _text_changes(changes, where):
        real, file = root.find(path, where)
        if not stat.S_ISREG(file.mode) or real in gone:
            raise ConfigError(f"{real} is no regular file that stays", where=where)
        first = min(file.names, key=list(root.files).index)
        contents[first] = (*contents.get(first, ()), change)
    if not (gone or new or contents):
        raise ConfigError("nothing to do: no change was asked for", where=where)
    gone |= {entry.name for entry in new if entry.name in root}
    return Edit(
        gone=frozenset(gone),
        new=tuple(new),
        contents=contents,
        names=frozenset((root.files.keys() - gone) | {entry.name for entry in new}),
        heirs=dict(_heirs(root, gone)),
    )


def _without(root: Rootfs, gone: Iterable[str]) -> Rootfs:
    left, dropped = Rootfs(), set(gone)
    left.files = {path: file for path, file in root.files.items() if path not in dropped}
    return left


def _heirs(root: Rootfs, gone: set[str]) -> Iterator[tuple[str, str]]:
    """For each first name that goes, the next one that stays."""
    seen: set[int] = set()
    for path, file in root.files.items():
        if id(file) in seen or len(file.names) < 2:
            continue
        seen.add(id(file))
        left = [name for name in root.files if name in file.names and name not in gone]
        if path in gone and left:
            yield path, left[0]


def _text_changes(changes: TreeChanges, where: str) -> Iterator[tuple[str, Change]]:
    for row in changes.replace:
        place = f"{where}: {row.path}"
        yield row.path, partial(patching.substitute, old=row.old, new=row.new, where=place)
    for path in changes.patches:
        text = output.read(path).decode(errors="surrogateescape")
        for patch in patching.parse(text, str(path)):
            if not patch.old or not patch.new:
                what = "patches of images change files; use --add and --delete for others"
                raise ConfigError(what, where=str(path))
            place = f"{path}: {patch.new}"
            yield patch.old, partial(patching.apply, patch=patch, where=place)


def write(image: Path, path: Path, edit: Edit) -> None:
    """Write the image with the changes to a new file, in one stream; raise as `rewrite` does."""
    like = superblock.load(image)
    with (
        ExitStack() as spools,
        stream.packed(path, like) as target,
        stream.unpacked(image) as source,
    ):
        passage = _Passage(edit, source.read, target.write, spools)
        for member in rawtar.members(source.read):
            passage.take(member)
        for entry in edit.new:
            passage.put(*_member(entry))
        target.write(bytes(2 * rawtar.BLOCK))
    _check(path, image, edit)


class _Passage:
    """The way of members from the old stream to the new one; most of them pass as they are.

    `saved` has the content of names that go, for the next name of the same file.
    """

    def __init__(
        self, edit: Edit, read: rawtar.Read, write: Callable[[bytes], object], spools: ExitStack
    ) -> None:
        self.edit, self.read, self.write, self.spools = edit, read, write, spools
        self.saved: dict[str, tuple[tarfile.TarInfo, IO[bytes]]] = {}
        self.inherited = {heir: first for first, heir in edit.heirs.items()}

    def take(self, member: Raw) -> None:
        """Pass a member on, changed if it is to change."""
        name, first = stream.clean(member.name), stream.clean(member.link)
        if name in self.edit.gone:
            if name in self.edit.heirs and member.size:
                self.saved[name] = (member.parsed(), self.content(member))
            else:
                rawtar.copied(self.read, len, member)  # to nowhere
        elif name in self.inherited and self.inherited[name] in self.saved:
            older, content = self.saved.pop(self.inherited[name])
            older.name = member.parsed().name
            older.pax_headers = _without_keys(older, "path")
            self.put(older, content, self.edit.contents.get(self.inherited[name], ()))
        elif name in self.edit.contents or first in self.edit.heirs:
            self.change(member, name, first)
        else:
            self.write(member.head)
            rawtar.copied(self.read, self.write, member)

    def change(self, raw: Raw, name: str, first: str) -> None:
        """Pass on a member with other content, or a link to another name."""
        member, content = raw.parsed(), self.content(raw)
        if first in self.edit.heirs:
            member.linkname = f"./{self.edit.heirs[first]}"
            member.pax_headers = _without_keys(member, "linkpath")
        self.put(member, content if member.isreg() else None, self.edit.contents.get(name, ()))

    def content(self, member: Raw) -> IO[bytes]:
        """The content of a member, kept until the image is written."""
        spool = tempfile.SpooledTemporaryFile(2**24)  # ruff: ignore[open-file-with-context-handler]
        self.spools.callback(spool.close)
        rawtar.copied(self.read, spool.write, member)
        spool.truncate(member.size)
        spool.seek(0)
        return spool

    def put(
        self,
        member: tarfile.TarInfo,
        content: IO[bytes] | None = None,
        changes: Iterable[Change] = (),
    ) -> None:
        """Write a member that is new or other than it was."""
        for change in changes:
            if content is not None:
                data = change(content.read())
                member.size, content = len(data), io.BytesIO(data)
                member.pax_headers = _without_keys(member, "size")
        self.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        while content is not None and (piece := content.read(2**20)):
            self.write(piece)
        self.write(bytes(-member.size % rawtar.BLOCK))


def _layered(path: Path, entries: Iterable[Entry], like: Superblock) -> None:
    with stream.writer(path, like) as target:
        for entry in entries:
            target.addfile(*_member(entry))


def _without_keys(member: tarfile.TarInfo, *keys: str) -> dict[str, str]:
    """The extended headers but these, which would win over the member's own fields."""
    return {key: value for key, value in member.pax_headers.items() if key not in keys}


def _member(entry: Entry) -> tuple[tarfile.TarInfo, IO[bytes] | None]:
    member = tarfile.TarInfo(f"./{entry.name}")
    member.type = MEMBERS[entry.kind]
    member.mode, member.mtime = stat.S_IMODE(entry.mode), entry.mtime
    member.uid, member.gid = entry.uid, entry.gid
    member.devmajor, member.devminor = entry.rdev
    if stat.S_ISLNK(entry.mode):
        member.linkname = entry.content.decode(errors="surrogateescape")
    if not stat.S_ISREG(entry.mode):
        return member, None
    member.size = len(entry.content)
    return member, io.BytesIO(entry.content)


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
    if wrong := sorted({name for name, _ in opened(path).files()} ^ edit.names):
        what = f"the new image does not hold what it should: {', '.join(wrong[:3])}"
        raise BuildError(what, where=str(image))

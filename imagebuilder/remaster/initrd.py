"""An initrd changed: by one more segment, or by writing some of its segments anew.

Whichever it is, the result is read again as the kernel would read it, and compared with what was
to come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imagebuilder import patching, process
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.initrd import edit, libraries, load, modules, rootfs, source
from imagebuilder.initrd.additions import placed
from imagebuilder.initrd.libraries import Home
from imagebuilder.initrd.model import Entry, Initrd
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.initrd.source import Wish
from imagebuilder.process import Runner
from imagebuilder.remaster import depmod, directory, output
from imagebuilder.remaster.output import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitution:
    """Every `old` in the file at `path` is to become `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be different in an initrd. In this order:

    become what the directory `tree` is, into which it was extracted; `delete` paths, `add` files,
    `programs` with their libraries and kernel `modules`, `replace` texts, apply `patches`; then
    compress as `kind`, unless that is empty. New files are dated `epoch`. Modules must be for the
    release of `kernel`, if it is given.
    """

    tree: Path | None = None
    delete: tuple[str, ...] = ()
    add: tuple[Wish, ...] = ()
    programs: tuple[Wish, ...] = ()
    modules: tuple[Path, ...] = ()
    replace: tuple[Substitution, ...] = ()
    patches: tuple[Path, ...] = ()
    kind: str = ""
    epoch: int = 0
    libraries_from: Path = Path("/")
    kernel: Path | None = None
    unchanged: bool = False  # no change is no error

    @property
    def additions(self) -> bool:
        """Whether files are to be added."""
        return bool(self.add or self.programs or self.modules)


def append(path: Path, target: Target, changes: Changes, run: Runner = process.run) -> None:
    """Write the initrd at `path` with one more segment to the target.

    Raise ConfigError for what cannot be read or done; nothing is written then.
    """
    output.check(path, target)
    output.write(target, appended(output.read(path), str(path), changes, run))


def rewrite(path: Path, target: Target, changes: Changes, run: Runner = process.run) -> None:
    """Write the initrd at `path` with the changes to the target; raise as `append` does."""
    output.check(path, target)
    output.write(target, edited(output.read(path), str(path), changes, run))


def appended(data: bytes, where: str, changes: Changes, run: Runner = process.run) -> bytes:
    """The initrd with one more segment; raise ConfigError if nothing is to be added."""
    if not changes.additions:
        raise ConfigError("nothing to do: nothing is to be added", where=where)
    root = rootfs.of(load.load(data, where))
    wanted = additions(root, changes, where, run)
    new = edit.append(data, wanted, where, changes.kind)
    after = rootfs.of(load.load(new, where))
    expected = contents(root) | {entry.name: _facts(entry) for entry in _final(root, wanted)}
    _check_same(contents(after), expected, where)
    return new


def edited(data: bytes, where: str, changes: Changes, run: Runner = process.run) -> bytes:
    """The initrd with the changes; raise ConfigError if there are none.

    If a directory has nothing but more files, or other ones, they are appended: that leaves all
    there is as it is, and compressing it again takes long.
    """
    before = load.load(data, where)
    if (more := _only_more(before, changes)) and not any(s.objection for s in before.segments):
        return appended(data, where, more, run)
    after = changed(edit.mended(before), changes, run)
    if after == before and changes.unchanged:
        return data
    if after == before:
        raise ConfigError("nothing to do: no change was asked for", where=where)
    new = load.write(after)
    _check_same(contents(rootfs.of(load.load(new, where))), contents(rootfs.of(after)), where)
    return new


def changed(initrd: Initrd, changes: Changes, run: Runner) -> Initrd:
    """The initrd after all changes, not yet written."""
    if changes.tree:
        initrd = _as_tree(initrd, changes.tree, changes.epoch)
    for path in changes.delete:
        initrd = edit.delete(initrd, path)
    if changes.additions:
        wanted = additions(rootfs.of(initrd), changes, initrd.where, run)
        initrd = edit.add(initrd, wanted)
    for change in changes.replace:
        where = f"{initrd.where}: {change.path}"
        how = partial(patching.substitute, old=change.old, new=change.new, where=where)
        initrd = edit.change(initrd, change.path, how)
    for patch in changes.patches:
        initrd = _patched(initrd, patch, changes.epoch)
    return edit.converted(initrd, changes.kind) if changes.kind else initrd


def _only_more(initrd: Initrd, changes: Changes) -> Changes | None:
    """The changes as files to add, if they can be made so."""
    if changes.tree is None or replace(changes, tree=None, unchanged=False) != Changes(
        epoch=changes.epoch
    ):
        return None
    root = rootfs.of(initrd)
    gone, wishes = directory.of_initrd(root, changes.tree)
    if gone or not wishes or any(root.is_directory(wish.path) for wish in wishes):
        return None
    return Changes(add=wishes, epoch=changes.epoch)


def _as_tree(initrd: Initrd, tree: Path, epoch: int) -> Initrd:
    gone, wishes = directory.of_initrd(rootfs.of(initrd), tree)
    for path in gone:
        initrd = edit.delete(initrd, path)
    root = rootfs.of(initrd)
    entries = [entry for wish in wishes for entry in source.load(wish, root, epoch)]
    return edit.add(initrd, entries) if entries else initrd


def additions(root: Rootfs, changes: Changes, where: str, run: Runner) -> list[Entry]:
    """Entries for all files that are to be added, libraries and indices of modules included."""
    plain = [e for wish in changes.add for e in source.load(wish, root, changes.epoch)]
    home = Home(root=root, tree=changes.libraries_from, epoch=changes.epoch, where=where)
    for wish in changes.programs:
        for entry in source.load(wish, root, changes.epoch):
            plain += [entry, *libraries.closure(entry, home)]
    return [*plain, *_modules(root, changes, run)]


def contents(root: Rootfs) -> dict[str, tuple[object, ...]]:
    """What there is to know of every file, by path, but for dates."""
    return {
        path: (file.mode, file.uid, file.gid, file.rdev, file.content)
        for path, file in root.files.items()
    }


def _modules(root: Rootfs, changes: Changes, run: Runner) -> list[Entry]:
    if not changes.modules:
        return []
    given = [(output.read(path), str(path)) for path in changes.modules]
    _check_kernel(changes, given)
    new: dict[str, list[Entry]] = {}
    for content, where in given:
        path = modules.destination(root, content, where)
        release = modules.parse(content, where).release
        new.setdefault(release, []).append(modules.entry(path, content, changes.epoch))
    modules.check_depends(root, given)
    indices = [e for release, row in new.items() for e in depmod.indices(root, release, row, run)]
    return [*(entry for row in new.values() for entry in row), *indices]


def _check_kernel(changes: Changes, given: Sequence[tuple[bytes, str]]) -> None:
    if changes.kernel is None:
        return
    release = modules.kernel_release(output.read(changes.kernel), str(changes.kernel))
    for content, where in given:
        module = modules.parse(content, where)
        if module.release != release:
            what = f"is for kernel {module.release}, {changes.kernel} is {release}"
            raise ConfigError(what, where=where)


def _patched(initrd: Initrd, path: Path, epoch: int) -> Initrd:
    text = output.read(path).decode(errors="surrogateescape")
    for patch in patching.parse(text, str(path)):
        where = f"{path}: {patch.new or patch.old}"
        how = partial(patching.apply, patch=patch, where=where)
        if not patch.new:
            initrd = edit.delete(initrd, patch.old)
        elif patch.old:
            initrd = edit.change(initrd, patch.old, how)
        else:
            entry = Entry(name=patch.new, mode=0o100644, mtime=epoch, content=how(b""))
            initrd = edit.add(initrd, [entry])
    return initrd


def _final(root: Rootfs, wanted: Sequence[Entry]) -> list[Entry]:
    return placed(root, wanted, "")


def _facts(entry: Entry) -> tuple[object, ...]:
    return (entry.mode, entry.uid, entry.gid, entry.rdev, entry.content)


def _check_same(
    found: dict[str, tuple[object, ...]], expected: dict[str, tuple[object, ...]], where: str
) -> None:
    different = {path for path in {*found, *expected} if found.get(path) != expected.get(path)}
    if different:
        shown = ", ".join(sorted(different)[:3])
        raise BuildError(f"the new initrd does not hold what it should: {shown}", where=where)

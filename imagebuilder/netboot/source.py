"""Kernels and initrds of what there is: ISO images, ramdisks that were built, plain files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from imagebuilder import given, magic
from imagebuilder.errors import ConfigError, together
from imagebuilder.initrd import load, modules, rootfs
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.iso import roles, tree
from imagebuilder.iso.probe import probe
from imagebuilder.netboot.model import Additions, Content, Entry, Host, Source
from imagebuilder.remaster.problems import Problems

SUFFIXES = ((".kernel", ".initramfs"), (".vmlinuz", ".initrd"))
END = bytes(4)  # what lz4's decompressor takes for the end
PE, SETUP = b"MZ", b"HdrS"  # an EFI program; Linux' own header for x86


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is started, what its initrds hold, and the ISO image that is served besides."""

    kernel: Content
    initrds: tuple[Content, ...]
    iso: Path | None = None
    root: Rootfs = field(default_factory=Rootfs)


def find(source: Source) -> Parts:
    """Kernel and initrds of a source.

    Raise ConfigError for what is missing, of another kind, or not for each other.
    """
    parts = _parts(source)
    if not parts.initrds:
        return parts
    root = rootfs.of(load.load(joined(parts.initrds), f"{source.where}: initrd"))
    _check_modules(parts.kernel, root, source.where)
    return replace(parts, root=root)


def joined(contents: Iterable[Content]) -> bytes:
    """Initrds as the kernel gets them: one after another."""
    return b"".join(separated(content) for content in contents)


def separated(content: Content) -> bytes:
    """An initrd that another may follow at once, whatever a loader puts between them."""
    data = _bytes(content)
    if data.endswith(END) and len(data) % 4 == 0:
        return data
    return data + END + bytes(-len(data) % 4)


def _bytes(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _check_modules(content: Content, root: Rootfs, where: str) -> None:
    """Raise ConfigError if the initrds have modules, and none of them for the kernel."""
    kernel = _bytes(content)
    if kernel[0x202:0x206] != SETUP:
        return
    release = modules.kernel_release(kernel, where)
    there = modules.releases(root)
    if there and release not in there:
        what = f"the kernel is {release}, its initrd has modules of {', '.join(there)}"
        raise ConfigError(what, where=where, hint="give a kernel and an initrd of one system")


def check(source: Source) -> None:
    """Raise ConfigError unless all files that it names are there, and files."""
    if found := [*_wrong(_named(source), source.where)]:
        raise together(found)


def note_missing(entries: Iterable[Entry], hosts: Iterable[Host], problems: Problems) -> None:
    """Note all sources, answers and other files that are not there."""
    for entry in entries:
        with problems.noted():
            if entry.source:
                problems.found += _wrong(_named(entry.source), entry.source.where)
        problems.found += _wrong_additions(entry.own, entry.where)
    for host in hosts:
        problems.found += _wrong_additions(host.own, host.where)


def _named(source: Source) -> list[Path]:
    paths = [path for path in (source.iso, source.kernel, *source.initrds) if path]
    if source.ramdisk is not None:
        kernel, initrds = _of_ramdisk(source.ramdisk, source.where)
        paths += [kernel, *initrds]
    return paths


def _wrong_additions(own: Additions, where: str) -> Iterator[ConfigError]:
    yield from _wrong([own.answers] if own.answers else [], where)
    for wish in own.files:
        if not os.path.lexists(wish.source):
            yield ConfigError(f"no such file: {wish.source}", where=where)


def _wrong(paths: Iterable[Path], where: str) -> Iterator[ConfigError]:
    """An error for each path that is not a file's."""
    for path in paths:
        try:
            given.check_file(path)
        except OSError as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            yield ConfigError(f"{what}: {path}", where=where)


def _parts(source: Source) -> Parts:
    check(source)
    if source.iso is not None:
        return _of_iso(source, source.iso)
    if source.ramdisk is not None:
        return _of_files(*_of_ramdisk(source.ramdisk, source.where))
    assert source.kernel is not None
    return _of_files(source.kernel, source.initrds)


def _of_iso(source: Source, path: Path) -> Parts:
    files = tree.load(probe(path))
    found = [entry for entry in roles.entries(files) if entry.kernel in files]
    fitting = [entry for entry in found if fnmatch(entry.title, source.menu or "*")]
    if not fitting:
        titles = ", ".join(dict.fromkeys(repr(entry.title) for entry in found))
        what = f"no menu entry fits {source.menu!r}" if found else "no menu names a kernel"
        hint = f"there are: {titles}" if found else "name kernel and initrd"
        raise ConfigError(what, where=str(path), hint=hint)
    entry = fitting[0]
    if missing := [name for name in entry.initrds if name not in files]:
        raise ConfigError(f"{missing[0]} is not in it", where=str(path))
    return Parts(
        kernel=_checked(files.read(entry.kernel), f"{path}: {entry.kernel}"),
        initrds=tuple(files.read(name) for name in entry.initrds),
        iso=path if source.whole else None,
    )


def _of_ramdisk(name: Path, where: str) -> tuple[Path, tuple[Path, ...]]:
    for kernel, initrd in SUFFIXES:
        pair = Path(f"{name}{kernel}"), Path(f"{name}{initrd}")
        if all(path.exists() for path in pair):
            return pair[0], (pair[1],)
    tried = " nor ".join(f"{name}{kernel} and {name}{initrd}" for kernel, initrd in SUFFIXES)
    hint = "KERNEL,INITRD names files, NAME.iso an ISO image"
    raise ConfigError(f"there are neither {tried}", where=where, hint=hint)


def _of_files(kernel: Path, initrds: tuple[Path, ...]) -> Parts:
    with kernel.open("rb") as file:
        _checked(file.read(magic.HEAD), str(kernel))
    return Parts(kernel=kernel, initrds=initrds)


def _checked(head: bytes, where: str) -> bytes:
    """The same, if it can be a kernel."""
    if head.startswith(PE) or head[0x202:0x206] == SETUP:
        return head
    raise ConfigError(f"is no kernel (looks like {magic.describe(head)})", where=where)

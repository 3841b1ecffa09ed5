"""iso: the files of a CD that elements have made, or a copy of an installer's CD with changes.

Elements leave the files in `TARGET_MEDIA`. With `DIB_BASE_ISO` they are what that image's files
have become, and the copy boots as it does. Without, it is a new image, started by what lies beside
them: GRUB's first sector for BIOS, an EFI system partition for UEFI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imagebuilder import process, signing
from imagebuilder.errors import ConfigError
from imagebuilder.formats import place
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.iso import make, roles, tree
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.make import Medium
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.process import Runner
from imagebuilder.remaster import inner
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.problems import Problems

SOURCE = Source.MEDIUM
SUFFIXES = {"iso": ".iso"}
BASE = "DIB_BASE_ISO"
WITH_ROOT = "installer-iso"  # the element whose tree is a root filesystem of the CD
SUMS = "md5sum.txt"
NOT_LISTED = (SUMS, make.BIOS, make.CATALOG)  # they change when the image is written


def check(output: Output) -> None:
    """Raise the error that making the image would end with otherwise, before there is a tree."""
    story.check_volume_id(output.environment.get("DIB_ISO_VOLUME_ID", ""), "DIB_ISO_VOLUME_ID")
    if base := _base(output):
        story.check_source(probe(base))
        if output.path.exists() and base.samefile(output.path):
            raise ConfigError("is the source, which is never changed", where=str(output.path))


def check_settled(output: Output) -> None:
    """Raise the errors of all that elements would look for on the CD in vain."""
    base, given = _base(output), output.environment
    if base is None:
        return
    files = tree.load(probe(base))
    problems = Problems()
    root = ""
    if WITH_ROOT in given.get("IMAGE_ELEMENT", "").split():
        with problems.noted():
            root = _root(files, given.get("DIB_ISO_ROOT", ""))
        if key := given.get("DIB_ISO_KEY"):
            with problems.noted():
                signing.check(key)
    with problems.noted():
        _check_started(files, given)
    with problems.noted():
        _check_room(files, root, output)
    problems.check()


def _root(files: Tree, named: str) -> str:
    """The path of the root filesystem; raise ConfigError if it is not known or not there."""
    where, path = str(files.iso.path), named.strip("/")
    found = sorted(name for name in files.nodes if name.endswith(inner.SUFFIX))
    hint = f"DIB_ISO_ROOT names one of its root filesystems: {', '.join(found)}"
    if not found:
        what = f"has no root filesystem (its volume id is {files.iso.volume.id!r})"
        raise ConfigError(what, where=where, hint="debian-installer-iso needs none")
    if path and path not in files.nodes:
        what = f"has no {path} (its volume id is {files.iso.volume.id!r})"
        raise ConfigError(what, where=where, hint=hint)
    if not path and len(found) > 1:
        hint += "; proxmox-ve-iso and ubuntu-live-server-iso know theirs"
        raise ConfigError("has several root filesystems", where=where, hint=hint)
    return path or found[0]


def _check_started(files: Tree, given: Mapping[str, str]) -> None:
    path = given.get("DIB_ISO_INITRD", "").strip("/")
    if path:
        files.file(path)
    if given.get("DIB_ISO_NEW_KERNEL", "0").lower() not in ("1", "true", "yes"):
        return
    there = [e for e in roles.entries(files) if e.kernel in files.nodes and (path or e.initrds)]
    if not there:
        hint = "DIB_ISO_NEW_KERNEL=0 leaves the kernel as it is"
        what = "no menu names a kernel and an initrd of it"
        raise ConfigError(what, where=str(files.iso.path), hint=hint)


def _check_room(files: Tree, root: str, output: Output) -> None:
    """Raise SpaceError if not even the CD as it is has room where it is worked on, and again."""
    size = files.iso.size
    story.check_room(output.path.parent, size, str(output.path))
    story.check_room(Path(tempfile.gettempdir()), size + _unpacked(files, root), "TMPDIR")


def _unpacked(files: Tree, root: str) -> int:
    """How large the root filesystem is at least, in bytes, as far as the CD says."""
    if not root:
        return 0
    listed = f"{root.removesuffix(inner.SUFFIX)}.size"
    said = files.read(listed).decode(errors="replace").strip() if listed in files.nodes else ""
    return max(files.file(root).size, int(said) if said.isdecimal() else 0)


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Write the image; raise ConfigError if it could not start."""
    base = _base(output)
    if base is None:
        return made(source, output)
    with story.copied(base, _changes(source, output), run, Problems()) as copy:
        return place.place(output, copy.write, lambda: copy.needed)


def _base(output: Output) -> Path | None:
    given = output.environment.get(BASE, "").removeprefix("file://").removeprefix("file:")
    if "://" in given:
        hint = "download it first, and give its path"
        raise ConfigError(f"not a file of the build host: {given}", where=BASE, hint=hint)
    return Path(given) if given else None


def made(source: Path, output: Output) -> Artefact:
    """Write a new image of `tree`, `mbr.img` and `efi.img` in the directory `source`."""
    parts = {name: source / name for name in ("mbr.img", "efi.img")}
    mbr, esp = (path if path.is_file() else None for path in parts.values())
    tree = source / "tree"
    if not any(tree.iterdir()) or not (mbr or esp):
        hint = "live-iso makes them of the tree, installer-iso takes those of an installer"
        raise ConfigError(
            "nothing that could start was put on it", where=str(output.path), hint=hint
        )
    _settle(tree, output.epoch)
    volume_id = output.environment.get("DIB_ISO_VOLUME_ID") or "LIVE"
    medium = Medium(tree=tree, volume_id=volume_id, mbr=mbr, esp=esp)

    def fill(path: Path) -> None:
        with process.reading(make.make(medium, output.epoch)) as image, path.open("wb") as file:
            shutil.copyfileobj(image, file, 2**20)
        probe(path)

    return place.place(output, fill, lambda: sum(p.stat().st_size for p in tree.rglob("*")))


def _settle(tree: Path, epoch: int) -> None:
    """Write the checksums of all files, and date everything."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path: str(path.relative_to(tree)) for path in files}
    rows = [f"{_md5(p)}  ./{name}\n" for p, name in names.items() if name not in NOT_LISTED]
    (tree / SUMS).write_text("".join(rows))
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _changes(source: Path, output: Output) -> IsoChanges:
    given: Mapping[str, str] = output.environment
    timeout = given.get("DIB_ISO_TIMEOUT", "")
    return IsoChanges(
        tree=source / "tree",
        menus=MenuChange(
            timeout=int(timeout) if timeout else None,
            arguments=ArgumentChange(add=tuple(given.get("DIB_ISO_KERNEL_ARGS", "").split())),
        ),
        volume_id=given.get("DIB_ISO_VOLUME_ID", ""),
        epoch=output.epoch,
    )

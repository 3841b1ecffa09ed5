"""iso: the files of a CD that elements have made, or a copy of an installer's CD with changes.

Elements leave the files in `TARGET_MEDIA`. With `DIB_BASE_ISO` they are what that image's files
have become, and the copy boots as it does. Without, it is a new image, started by what lies beside
them: GRUB's first sector for BIOS, an EFI system partition for UEFI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from imagebuilder import process
from imagebuilder.errors import ConfigError
from imagebuilder.formats import place
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.iso import make
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.make import Medium
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.probe import probe
from imagebuilder.process import Runner
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.problems import Problems

SOURCE = Source.MEDIUM
SUFFIXES = {"iso": ".iso"}
BASE = "DIB_BASE_ISO"
SUMS = "md5sum.txt"
NOT_LISTED = (SUMS, make.BIOS, make.CATALOG)  # they change when the image is written


def check(output: Output) -> None:
    """Raise the error that making the image would end with otherwise, before there is a tree."""
    story.check_volume_id(output.environment.get("DIB_ISO_VOLUME_ID", ""), "DIB_ISO_VOLUME_ID")
    if base := _base(output):
        story.check_source(probe(base))
        if output.path.exists() and base.samefile(output.path):
            raise ConfigError("is the source, which is never changed", where=str(output.path))


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Write the image; raise ConfigError if it could not start."""
    base = _base(output)
    if base is None:
        return made(source, output)
    with story.copied(base, _changes(source, output), run, Problems()) as copy:
        return place.place(output, copy.write, lambda: copy.needed)


def _base(output: Output) -> Path | None:
    given = output.environment.get(BASE, "").removeprefix("file://").removeprefix("file:")
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

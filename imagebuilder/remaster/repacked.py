"""live-squashfs: the tree as the squashfs image of a live system that it was unpacked from.

The element `squashfs-root` unpacks `DIB_BASE_SQUASHFS`; the new image has that one's compression,
level, block size and export table. What lies beside that one is made for the new one too: the list
of packages (`NAME.manifest`), the size (`NAME.size`) and the signature (`NAME.squashfs.gpg`, with
the key that `DIB_SQUASHFS_KEY` names). The base is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from imagebuilder import signing
from imagebuilder.errors import ConfigError
from imagebuilder.formats import place
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner
from imagebuilder.remaster import inner, squashfs
from imagebuilder.squashfs import stream, superblock

SOURCE = Source.TREE
SUFFIXES = {"live-squashfs": ".squashfs"}
FEATURES = ("squashfs",)
BASE, KEY = "DIB_BASE_SQUASHFS", "DIB_SQUASHFS_KEY"
BESIDE: Mapping[str, Callable[[Path], bytes]] = {
    ".manifest": inner.manifest_of,
    ".size": inner.size_of,
}
SIGNATURE = ".gpg"


def check(output: Output) -> None:
    """Raise ConfigError without a base, or without the key for its signature."""
    base = _base(output)
    stream.check(superblock.load(base), str(base))
    if output.path.exists() and output.path.samefile(base):
        raise ConfigError("is the base, which is never changed", where=str(output.path))
    key = output.environment.get(KEY, "")
    if key:
        signing.check(key)
    elif _beside(base, SIGNATURE).exists():
        hint = f"set {KEY} to a GnuPG key, or move the signature away"
        where = str(_beside(base, SIGNATURE))
        raise ConfigError("is a signature, which will not be one", where=where, hint=hint)


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the tree, and write what lies beside it."""
    base, key = _base(output), output.environment.get(KEY, "")
    like = superblock.load(base)
    made = place.place(
        output,
        lambda path: squashfs.pack(source, path, like, output.epoch),
        lambda: 2 * like.used + 2**20,
    )
    for path, content in _companions(base, output, key, run):
        _write(path, content)
    return made


def _companions(base: Path, output: Output, key: str, run: Runner) -> Iterator[tuple[Path, bytes]]:
    for suffix, contents in BESIDE.items():
        if base.with_suffix(suffix).exists():
            yield output.path.with_suffix(suffix), contents(output.path)
    if key:
        signature = signing.detached(output.path, key, output.epoch, run)
        yield _beside(output.path, SIGNATURE), signature


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _write(path: Path, content: bytes) -> None:
    place.place(
        Output(path=path, format="", overwrite=True),
        lambda draft: _fill(draft, content),
        lambda: len(content),
    )


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _base(output: Output) -> Path:
    name = output.environment.get(BASE, "")
    if not name:
        hint = f"add the element squashfs-root and set {BASE}"
        raise ConfigError("there is no image to be like", where=str(output.path), hint=hint)
    return Path(name.removeprefix("file://"))

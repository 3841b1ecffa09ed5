"""Outputs as frozen values: what was asked for (`Output`), and what was made (`Artefact`).

A format is a module, found by name among the entry points `imagebuilder.formats`. It has:

    SOURCE: Source                            what it is made from
    SUFFIXES: Mapping[str, str]               what a file's name ends in, for each format's name
    write(source: Path, output: Output, run: Runner) -> Artefact

With `SOURCE` being `Source.IMAGE`, `source` is a `disk.image.Image`; with `Source.MEDIUM` it is the
directory that `media.d` and `initrd.d` have filled. It may have, too:

    FEATURES: tuple[str, ...]                 rows of the table of tools; by default the name's
    check(output: Output) -> None             raises what `write` would, before a build begins
    check_settled(output: Output) -> None     the same, when `environment.d` has set the variables
    alters(name: str) -> bool                 whether the disk is another meanwhile: no format of it
                                              is made at the same time
    for_qemu_img(name: str) -> tuple[str, tuple[str, ...]]   qemu-img's name for it, and options
    deliver(output: Output, run: Runner) -> str   hands the finished file on; says what it did
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from imagebuilder.formats.memory import Memory


class Source(Enum):
    """What a format is made from."""

    DISK = "disk"  # the scratch file with the whole disk
    IMAGE = "image"  # the same, but parts of the disk may still lie in the tree
    TREE = "tree"  # the root tree
    MEDIUM = "medium"  # the files of a CD, made of the tree by media.d and initrd.d

    @property
    def is_disk(self) -> bool:
        """Whether the tree has to be poured into filesystems for it."""
        return self in (Source.DISK, Source.IMAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One file that somebody asked for."""

    path: Path  # the final name; checksum files repeat it as it is
    format: str
    options: tuple[str, ...] = ()  # key=value, for qemu-img -o, those of this format
    compress: bool = True
    checksums: tuple[str, ...] = ()  # of "md5", "sha256"
    overwrite: bool = False  # do not keep an older file of this name
    epoch: int = 0  # SOURCE_DATE_EPOCH: nothing in the file is younger
    environment: Mapping[str, str] = field(default_factory=dict)  # what environment.d has left
    arch: str = "amd64"  # in Debian's words
    target: str = ""  # a container image's name, or docker:// and where to push it
    aci_manifest: Path | None = None
    gzip: str = ""  # the program to compress archives with, and its options; empty: none
    squashfs: str = "xz"  # how squashfs images are compressed
    memory: Memory = field(default_factory=Memory)  # earlier outputs, for formats that use it
    kept: bool = False  # somebody will ask whether the file is as it was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A finished file under its final name.

    `content` is what `holes.digest` said of it when it was last modified, at `modified` (in ns);
    nothing if the output is not `kept`.
    """

    path: Path
    format: str
    size: int
    content: str
    modified: int
    digests: Mapping[str, str] = field(default_factory=dict)

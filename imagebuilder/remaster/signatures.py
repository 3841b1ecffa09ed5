"""Signatures on an ISO image that lie beside what they are of, renewed with it.

They are detached ones of GnuPG: Ubuntu's installer checks `NAME.squashfs.gpg`, GRUB `grub.cfg.sig`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import signing
from imagebuilder.errors import ConfigError
from imagebuilder.iso.tree import Tree

ENDS = (".gpg", ".sig", ".asc", ".sign")
ARMOUR = b"-----BEGIN PGP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signs: a GnuPG key, if there is one, and as of when."""

    key: str = ""
    epoch: int = 0


def beside(files: Tree, paths: Iterable[str], settled: Collection[str]) -> dict[str, str]:
    """The signatures of files, by their paths; without those that are settled otherwise."""
    named = {f"{path}{end}": path for path in sorted(paths) for end in ENDS}
    return {
        name: path
        for name, path in named.items()
        if name in files.nodes and name not in settled and path in files.nodes
    }


def check(files: Tree, paths: Iterable[str], settled: Collection[str], key: str) -> None:
    """Raise ConfigError if files will change whose signatures nobody can renew."""
    found = beside(files, paths, settled)
    if found and not key:
        name = min(found)
        hint = f"give a key (--key), or --remove {name}"
        where = f"{files.iso.path}: {name}"
        raise ConfigError("is a signature, which will not be one", where=where, hint=hint)


def renewed(
    files: Tree, news: Mapping[str, bytes | Path], settled: Collection[str], signer: Signer
) -> dict[str, bytes]:
    """New signatures of files with new contents, in the form of the old ones; raise as `check`."""
    check(files, news, settled, signer.key)
    return dict(_made(files, news, beside(files, news, settled), signer))


def _made(
    files: Tree, news: Mapping[str, bytes | Path], names: Mapping[str, str], signer: Signer
) -> Iterator[tuple[str, bytes]]:
    for name, path in names.items():
        armour = files.read(name).startswith(ARMOUR)
        yield name, signing.detached(news[path], signer.key, signer.epoch, armour=armour)

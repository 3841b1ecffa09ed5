"""Which element each file of the merged tree is from, and who takes part in which phase."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.element.merge import mode_for_others
from imagebuilder.element.model import Element, Phase
from imagebuilder.plan.model import Draft

FINGERPRINTS = "fingerprint.d/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """The merged tree's files: the digests of their modes and contents, and their elements.

    A file that lies outside of all elements, where a symlink has led to it, has no owner.
    """

    digests: Mapping[str, str]
    owners: Mapping[str, Element | None]
    fingerprints: Mapping[str, frozenset[str]]  # programs of fingerprint.d, by element
    translations: Mapping[str, str]  # digests of elements' lists of other names for packages

    def taking_part(self, phases: Iterable[Phase]) -> tuple[Element | None, ...]:
        """The owners of what is in these phases' directories, each once."""
        prefixes = tuple(f"{phase.directory}/" for phase in phases)
        found = (self.owners[name] for name in self.owners if name.startswith(prefixes))
        return tuple({id(owner): owner for owner in found}.values())


def owned(draft: Draft) -> Owned:
    """Read every file of the merged tree."""
    homes = {element.path.resolve(): element for element in draft.elements}
    homes |= {element.path: element for element in draft.elements}
    sources = sorted([*draft.tree.files.items(), *draft.tree.directories.items()])
    owners = {
        name: next((homes[up] for up in source.parents if up in homes), None)
        for name, source in sources
    }
    programs: dict[str, set[str]] = {}
    for name, owner in owners.items():
        if owner and name.startswith(FINGERPRINTS):
            programs.setdefault(owner.name, set()).add(name.removeprefix(FINGERPRINTS))
    return Owned(
        digests={name: sha256(_content(source)) for name, source in sources},
        owners=owners,
        fingerprints={name: frozenset(found) for name, found in programs.items()},
        translations=dict(_translations(draft)),
    )


def _translations(draft: Draft) -> Iterator[tuple[str, str]]:
    """What every element's names for packages and services mean; the merged tree has one file."""
    for element in draft.elements:
        for kind in ("pkg-map", "svc-map"):
            file = element.path / kind
            if file.is_file():
                yield f"{kind} of {element.name}", sha256(file.read_bytes())


def sha256(content: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _content(source: Path) -> bytes:
    if source.is_symlink():
        return b"symlink " + bytes(source.readlink())
    if source.is_dir():
        return b"directory %o" % mode_for_others(source)
    executable = bool(source.stat().st_mode & 0o111)
    return (b"program " if executable else b"data ") + source.read_bytes()

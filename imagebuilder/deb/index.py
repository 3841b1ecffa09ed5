"""The indices of a repository: `Packages` in all its forms, and `Release` with their checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from imagebuilder.codec import table
from imagebuilder.deb import control
from imagebuilder.deb.control import Paragraph
from imagebuilder.deb.package import Package
from imagebuilder.errors import ConfigError

PACKAGES = re.compile(r"(?P<component>.+)/binary-(?P<architecture>[a-z0-9-]+)/Packages(\.gz|\.xz)?")
FORMS: Mapping[str, str] = {"": "", ".gz": "gzip", ".xz": "xz"}
SUMS: Mapping[str, str] = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
OWN_SUMS: Mapping[str, str] = {"MD5sum": "md5", "SHA1": "sha1", "SHA256": "sha256"}
BY_HASH = ("MD5Sum", "SHA1", "SHA256", "SHA512")
STRONG = "SHA256"
ALL = "all"


class Tree(Protocol):
    """What can be read by path."""

    def read(self, path: str) -> bytes:
        """The content of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The packages of one component for one architecture, and the forms that they are listed in."""

    component: str
    architecture: str
    entries: tuple[Paragraph, ...]
    forms: tuple[str, ...]

    @property
    def stem(self) -> str:
        """Its path in the suite, without an extension."""
        return f"{self.component}/binary-{self.architecture}/Packages"

    def takes(self, architecture: str) -> bool:
        """Whether packages of that architecture are listed here."""
        return architecture in (self.architecture, ALL)

    def with_entry(self, entry: Paragraph) -> Index:
        """The same with one package more, which replaces another of its version."""
        own = _key(entry)
        kept = (each for each in self.entries if _key(each) != own)
        return replace(self, entries=(*kept, entry))

    @property
    def text(self) -> bytes:
        """The list, in the order of names."""
        rows = sorted(self.entries, key=_key)
        return "\n".join(map(str, rows)).encode(errors="surrogateescape")


def load(tree: Tree, home: str, paths: Iterable[str]) -> list[Index]:
    """The indices of the suite at `home`; raise ConfigError if there are none."""
    forms: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths):
        if path.startswith(f"{home}/") and (found := PACKAGES.fullmatch(path, len(home) + 1)):
            key = (found["component"], found["architecture"])
            forms.setdefault(key, []).append(found[3] or "")
    if not forms:
        raise ConfigError("has no list of packages", where=home)
    return [_index(tree, home, key, tuple(own)) for key, own in forms.items()]


def entry(fields: Paragraph, path: str, content: bytes) -> Paragraph:
    """A package as it is listed."""
    sums = {
        name: hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        for name, kind in OWN_SUMS.items()
    }
    return fields.changed({"Filename": path, "Size": str(len(content)), **sums})


def pool_path(component: str, package: Package) -> str:
    """Where a package belongs: by the name of its source."""
    fields = package.fields
    source = fields.value("Source").split(" ")[0] or fields.value("Package")
    letter = source[:4] if source.startswith("lib") else source[:1]
    return f"pool/{component}/{letter}/{source}/{package.file_name}"


def renewed(
    tree: Tree, home: str, paths: Iterable[str], indices: Sequence[Index], epoch: int
) -> dict[str, bytes]:
    """The lists and the `Release` of a suite, with copies by hash where it promises them."""
    lists = {
        f"{index.stem}{form}": _packed(index.text, form)
        for index in indices
        for form in index.forms
    }
    plain = {index.stem: index.text for index in indices}
    text = tree.read(f"{home}/Release").decode(errors="surrogateescape")
    old = control.parse(text, f"{home}/Release")
    release = _release(old, lists, plain, epoch)
    files = {f"{home}/{name}": content for name, content in lists.items()}
    files[f"{home}/Release"] = str(release).encode(errors="surrogateescape")
    if old.value("Acquire-By-Hash") == "yes":
        files |= dict(_by_hash(home, lists, set(paths)))
    return files


def _index(tree: Tree, home: str, key: tuple[str, str], forms: tuple[str, ...]) -> Index:
    stem = f"{home}/{key[0]}/binary-{key[1]}/Packages"
    content = tree.read(f"{stem}{forms[0]}")
    plain = table.BY_NAME[FORMS[forms[0]]].unpack(content, 0).content if forms[0] else content
    text = plain.decode(errors="surrogateescape")
    entries = tuple(control.paragraphs(text, stem))
    return Index(component=key[0], architecture=key[1], entries=entries, forms=forms)


def _packed(content: bytes, form: str) -> bytes:
    return table.BY_NAME[FORMS[form]].pack(content, b"") if form else content


def _release(
    old: Paragraph, lists: Mapping[str, bytes], plain: Mapping[str, bytes], epoch: int
) -> Paragraph:
    """With the checksums of the lists, and of plain ones that are named without being there."""
    date = datetime.fromtimestamp(epoch, UTC)
    new = {"Date": f"{date:%a, %d %b %Y %H:%M:%S} UTC"}
    there = {name.lower() for name, _ in old.fields}
    for field in [name for name in SUMS if name.lower() in there] or [STRONG]:
        new[field] = _sums(old.value(field), lists, plain, SUMS[field])
    return old.changed(new)


def _sums(rows: str, lists: Mapping[str, bytes], plain: Mapping[str, bytes], kind: str) -> str:
    """The rows of one kind of checksum, with those of the lists renewed."""
    fields = [line.split() for line in rows.splitlines()]
    known = {row[2]: (row[0], row[1]) for row in fields if len(row) == 3}
    contents = {**{name: text for name, text in plain.items() if name in known}, **lists}
    for name, content in contents.items():
        digest = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        known[name] = (digest, str(len(content)))
    return "".join(f"\n {digest} {size:>8} {name}" for name, (digest, size) in known.items())


def _by_hash(home: str, lists: Mapping[str, bytes], paths: set[str]) -> Iterator[tuple[str, bytes]]:
    for name, content in lists.items():
        directory = f"{home}/{name.rpartition('/')[0]}/by-hash"
        for field in BY_HASH:
            digest = hashlib.new(SUMS[field], content, usedforsecurity=False).hexdigest()
            if any(path.startswith(f"{directory}/{field}/") for path in paths):
                yield f"{directory}/{field}/{digest}", content


def _key(entry: Paragraph) -> tuple[str, str, str]:
    return entry.value("Package"), entry.value("Version"), entry.value("Architecture")

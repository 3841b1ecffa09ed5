"""A Debian package as a value: control files, and the tree that it installs (deb(5))."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from imagebuilder.codec import table
from imagebuilder.codec.model import DamagedError, TruncatedError
from imagebuilder.deb import ar, control
from imagebuilder.deb.control import Paragraph
from imagebuilder.errors import ConfigError

VERSION, CONTROL, DATA = "debian-binary", "control.tar", "data.tar"
SUFFIXES: Mapping[str, str] = {
    "": "", ".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2", ".lzma": "lzma",
}  # fmt: skip
KIBIBYTE = 1024
EPOCH = ":"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One file of the control archive: a maintainer's script, or a list."""

    content: bytes
    mode: int = 0o644
    mtime: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package; `data` is the tar archive of its tree, `suffixes` how both are compressed."""

    where: str
    files: Mapping[str, Script]
    data: bytes
    suffixes: tuple[str, str] = (".xz", ".xz")
    others: tuple[ar.Member, ...] = field(default=())

    @property
    def fields(self) -> Paragraph:
        """Its control file."""
        text = self.files["control"].content.decode(errors="surrogateescape")
        return control.parse(text, f"{self.where}: control")

    @property
    def file_name(self) -> str:
        """What it is called in pools: without the version's epoch."""
        version = self.fields.value("Version").rpartition(EPOCH)[2]
        return f"{self.fields.value('Package')}_{version}_{self.fields.value('Architecture')}.deb"

    def changed(self, new: Mapping[str, Script]) -> Package:
        """The same with control files replaced or added; those without content are taken away."""
        files = {name: script for name, script in {**self.files, **new}.items() if script.content}
        return replace(self, files=files)


def load(data: bytes, where: str) -> Package:
    """Read a package; raise ConfigError if it is none, or damaged."""
    members = ar.read(data, where)
    if [name for name, _ in members[:1]] != [VERSION] or not members[0][1].startswith(b"2."):
        raise ConfigError("not a Debian package of version 2", where=where)
    archives = {stem: _archive(members, stem, where) for stem in (CONTROL, DATA)}
    try:
        files = dict(_control(archives[CONTROL][1]))
    except tarfile.TarError as error:
        raise ConfigError(f"a damaged {CONTROL}: {error}", where=where) from error
    if "control" not in files:
        raise ConfigError("has no control file", where=where)
    package = Package(
        where=where,
        files=files,
        data=archives[DATA][1],
        suffixes=(archives[CONTROL][0], archives[DATA][0]),
        others=tuple(m for m in members[1:] if not m[0].startswith((CONTROL, DATA))),
    )
    for name in ("Package", "Version", "Architecture"):
        if not package.fields.value(name):
            raise ConfigError(f"its control file has no {name}", where=where)
    return package


def write(package: Package, epoch: int) -> bytes:
    """The package's bytes; what is outside of the trees is dated `epoch`."""
    packed = [
        (CONTROL, package.suffixes[0], _control_archive(package, epoch)),
        (DATA, package.suffixes[1], package.data),
    ]
    members = [(VERSION, b"2.0\n"), *package.others]
    members += [(f"{stem}{suffix}", _packed(tar, suffix)) for stem, suffix, tar in packed]
    return ar.write(members, epoch)


def md5sums(package: Package) -> bytes:
    """Checksums of all files but those of the administrator, as dh_md5sums writes them."""
    own = set(conffiles(package))
    lines = []
    with tarfile.open(fileobj=io.BytesIO(package.data)) as archive:
        for member in archive:
            path = member.name.removeprefix("./").lstrip("/")
            content = archive.extractfile(member) if member.isreg() or member.islnk() else None
            if content and f"/{path}" not in own:
                digest = hashlib.md5(content.read(), usedforsecurity=False).hexdigest()
                lines.append((path, f"{digest}  {path}\n"))
    text = "".join(line for _, line in sorted(lines))
    return text.encode(errors="surrogateescape")


def installed_size(package: Package) -> int:
    """KiB that its tree takes, as dpkg-gencontrol counts them."""
    with tarfile.open(fileobj=io.BytesIO(package.data)) as archive:
        return sum(-(-m.size // KIBIBYTE) if m.isreg() else 1 for m in archive)


def conffiles(package: Package) -> list[str]:
    """The paths of the administrator's files, with `/` in front."""
    script = package.files.get("conffiles")
    return script.content.decode(errors="surrogateescape").splitlines() if script else []


def owners(package: Package) -> list[str]:
    """The paths of what does not belong to root."""
    with tarfile.open(fileobj=io.BytesIO(package.data)) as archive:
        return [m.name.removeprefix("./") for m in archive if (m.uid, m.gid) != (0, 0)]


def _archive(members: list[ar.Member], stem: str, where: str) -> tuple[str, bytes]:
    """How the tar archive of that name is compressed, and its bytes."""
    found = [
        (name.removeprefix(stem), content) for name, content in members if name.startswith(stem)
    ]
    if not found:
        raise ConfigError(f"has no {stem}", where=where)
    suffix, content = found[0]
    if suffix not in SUFFIXES:
        raise ConfigError(f"{stem}{suffix} is compressed in an unknown way", where=where)
    try:
        return suffix, _unpacked(content, suffix)
    except (DamagedError, TruncatedError) as error:
        said = str(error) or "it ends too early"
        raise ConfigError(f"a damaged {stem}{suffix}: {said}", where=where) from error


def _unpacked(content: bytes, suffix: str) -> bytes:
    if not suffix:
        return content
    codec = table.BY_NAME[SUFFIXES[suffix]]
    pieces, place = [], 0
    while place < len(content):
        piece = codec.unpack(content, place)
        pieces.append(piece.content)
        place += piece.length
    return b"".join(pieces)


def _packed(content: bytes, suffix: str) -> bytes:
    return table.BY_NAME[SUFFIXES[suffix]].pack(content, b"") if suffix else content


def _control(archive: bytes) -> Iterator[tuple[str, Script]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content:
                mode = stat.S_IMODE(member.mode)
                script = Script(content=content.read(), mode=mode, mtime=int(member.mtime))
                yield member.name.removeprefix("./"), script


def _control_archive(package: Package, epoch: int) -> bytes:
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.GNU_FORMAT) as tar:
        root = tarfile.TarInfo("./")
        root.type, root.mode, root.mtime = tarfile.DIRTYPE, 0o755, epoch
        root.uname = root.gname = "root"
        tar.addfile(root)
        for name, script in sorted(package.files.items()):
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode, member.mtime = len(script.content), script.mode, script.mtime
            member.uname = member.gname = "root"
            tar.addfile(member, io.BytesIO(script.content))
    return room.getvalue()

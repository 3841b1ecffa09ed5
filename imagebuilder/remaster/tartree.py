"""A tree in a tar archive in memory, changed as trees in squashfs images are."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, replace

from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import File, Rootfs
from imagebuilder.remaster.squashfs import MEMBERS, Edit
from imagebuilder.squashfs import stream

KINDS = {tar: unix for unix, tar in MEMBERS.items()}
OLD_FORMS = {tarfile.AREGTYPE: stat.S_IFREG, tarfile.LNKTYPE: stat.S_IFREG}
HEADERS = ("path", "linkpath", "size")  # extended ones, which would win over what is changed


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive with its content."""

    name: str
    header: tarfile.TarInfo
    content: bytes


def members(data: bytes) -> list[Member]:
    """All members, the root included; raise tarfile.TarError if that is no whole archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [
            Member(name, header, _content(archive, header))
            for name, header in stream.names(archive)
        ]


def listing(several: Iterable[Member]) -> Rootfs:
    """The files as a tree, by path."""
    root = Rootfs()
    for member in several:
        if member.name:
            root.files[member.name] = _file(root, member.header)
            root.files[member.name].names.add(member.name)
    return root


def rewritten(several: Iterable[Member], edit: Edit) -> bytes:
    """The archive with the changes; a hard link whose first name goes becomes the file."""
    firsts: dict[str, Member] = {}
    heirs = {heir: first for first, heir in edit.heirs.items()}
    made: list[Member] = []
    for member in several:
        first = stream.clean(member.header.linkname) if member.header.islnk() else ""
        if member.name in edit.gone:
            firsts[member.name] = member
        elif member.name in heirs:
            older = firsts[heirs[member.name]]
            header = _renamed(older.header, name=member.header.name)
            made.append(_changed(replace(older, header=header), edit))
        elif first in edit.heirs:
            header = _renamed(member.header, linkname=f"./{edit.heirs[first]}")
            made.append(replace(member, header=header))
        else:
            made.append(_changed(member, edit))
    return _archive([*made, *map(_new, edit.new)])


def _changed(member: Member, edit: Edit) -> Member:
    """With the changes of its text; they are known by the name that it had."""
    content = member.content
    for change in edit.contents.get(member.name, ()):
        content = change(content)
    return replace(member, content=content)


def _archive(several: Iterable[Member]) -> bytes:
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.GNU_FORMAT) as target:
        for member in several:
            header = _renamed(member.header)
            header.size = len(member.content) if header.isreg() else 0
            target.addfile(header, io.BytesIO(member.content))
    return room.getvalue()


def _renamed(header: tarfile.TarInfo, *, name: str = "", linkname: str = "") -> tarfile.TarInfo:
    made = header.replace(name=name or header.name, linkname=linkname or header.linkname)
    made.pax_headers = {k: v for k, v in header.pax_headers.items() if k not in HEADERS}
    return made


def _content(archive: tarfile.TarFile, header: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(header) if header.isreg() else None
    return file.read() if file else b""


def _new(entry: Entry) -> Member:
    header = tarfile.TarInfo(f"./{entry.name}")
    header.type, header.mode, header.mtime = (
        MEMBERS[entry.kind],
        stat.S_IMODE(entry.mode),
        entry.mtime,
    )
    header.uid, header.gid = entry.uid, entry.gid
    header.devmajor, header.devminor = entry.rdev
    header.uname, header.gname = (
        "root" if number == 0 else "" for number in (entry.uid, entry.gid)
    )
    if stat.S_ISLNK(entry.mode):
        header.linkname = entry.content.decode(errors="surrogateescape")
    return Member(entry.name, header, entry.content if stat.S_ISREG(entry.mode) else b"")


def _file(root: Rootfs, header: tarfile.TarInfo) -> File:
    target = stream.clean(header.linkname)
    if header.islnk() and target in root.files:
        return root.files[target]
    file = File(
        ({**KINDS, **OLD_FORMS}[header.type]) | header.mode,
        header.uid,
        header.gid,
        int(header.mtime),
        (header.devmajor, header.devminor),
        header.linkname.encode(errors="surrogateescape"),
    )
    file.size = header.size
    return file

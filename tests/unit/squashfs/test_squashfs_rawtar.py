"""Members of a tar stream are found as tarfile finds them, and pass on byte by byte."""

from __future__ import annotations

import io
import tarfile

import pytest

from imagebuilder.squashfs import rawtar

FILES = {"a": b"", "b": b"x", "dir/c": b"y" * 511, "d": b"z" * 512, "e": b"w" * 300_000}


def archive(kind: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=kind) as target:
        for name, content in {**FILES, "long/" * 60 + "name": b"long", "ümlaut": b"u"}.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid = len(content), 3_000_000
            if kind == tarfile.PAX_FORMAT:
                member.pax_headers = {"SCHILY.xattr.user.x": "value\nwith = lines", "mtime": "1.5"}
            target.addfile(member, io.BytesIO(content))
        for name, type_, link in (
            ("hard", tarfile.LNKTYPE, "dir/c"),
            ("hard-long", tarfile.LNKTYPE, "l" * 150),
            ("soft", tarfile.SYMTYPE, "s" * 150),
            ("device", tarfile.CHRTYPE, ""),
            ("directory", tarfile.DIRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = type_, link
            target.addfile(member)
    return made.getvalue()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_are_those_of_tarfile_and_pass_on_as_they_are(kind: int) -> None:
    data = archive(kind)
    source, passed = io.BytesIO(data), io.BytesIO()
    found = []
    for member in rawtar.members(source.read):
        found.append((member.name, member.link, member.size))
        assert member.parsed().name == member.name.rstrip("/")
        passed.write(member.head)
        rawtar.copied(source.read, passed.write, member)
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        expected = [(m.name, m.linkname if m.islnk() else "", m.size) for m in theirs]
    assert [(name.rstrip("/"), link, size) for name, link, size in found] == expected
    assert data.startswith(passed.getvalue())
    assert not data[passed.tell() :].strip(b"\0")


def read_all(source: io.BytesIO) -> None:
    for member in rawtar.members(source.read):
        rawtar.copied(source.read, len, member)


@pytest.mark.parametrize("cut", [100, 700, 3000])
def test_a_stream_that_is_cut_off_is_an_error(cut: int) -> None:
    source = io.BytesIO(archive(tarfile.PAX_FORMAT)[:cut])
    with pytest.raises(tarfile.ReadError, match="truncated"):
        read_all(source)

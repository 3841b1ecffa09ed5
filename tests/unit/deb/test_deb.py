"""Debian packages and pools as values: what is wrong is named, what is right is the same again."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from imagebuilder.deb import ar, control, depends, package, pool, version
from imagebuilder.deb.depends import Known
from imagebuilder.deb.package import Package, Script
from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.remaster import deb as story
from imagebuilder.remaster.deb import DebChanges
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges

CONTROL = """\
Package: hello
Version: 1:2.0-1
Architecture: amd64
Maintainer: Me <me@example.org>
Installed-Size: 9
Depends: libc6 (>= 2.3), dpkg | apt (<< 1)
Description: says hello
 And no more.
"""


def tree() -> bytes:
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("./", "./etc/", "./var/"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for name, owner in (("./etc/hello", 0), ("./etc/bye", 0), ("./var/mail", 8)):
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = 6, owner, owner
            archive.addfile(member, io.BytesIO(b"hello\n"))
    return room.getvalue()


def made(fields: str = CONTROL, **files: str) -> Package:
    own = {"control": fields, "conffiles": "/etc/hello\n/etc/bye\n", **files}
    scripts = {name: Script(content=text.encode()) for name, text in own.items()}
    return Package(where="hello.deb", files=scripts, data=tree(), suffixes=(".gz", ""))


def changed(changes: DebChanges, of: Package | None = None) -> Package:
    return story.changed(of or made(), changes)


def text(of: Package, name: str) -> str:
    return of.files[name].content.decode()


def test_a_package_is_read_as_it_was_written() -> None:
    data = package.write(made(), 5)
    read = package.load(data, "hello.deb")
    assert (read.data, read.suffixes) == (made().data, (".gz", ""))
    assert read.fields.value("Version") == "1:2.0-1"
    assert read.file_name == "hello_2.0-1_amd64.deb"
    assert package.write(read, 5) == data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a Debian package (looks like nothing)"),
        (b"\x1f\x8b1234", "not a Debian package (looks like gzip data)"),
        (ar.MAGIC + b"x" * 70, "damaged: no member begins at byte 8"),
        (package.write(made(), 0)[:-9], "truncated: a member ends at byte"),
        (ar.write([("x", b"")], 0), "not a Debian package of version 2"),
        (ar.write([("debian-binary", b"2.0\n")], 0), "has no control.tar"),
        (
            ar.write([("debian-binary", b"2.0\n"), ("control.tar.xz", b"x"), ("data.tar", b"")], 0),
            "a damaged control.tar.xz",
        ),
        (
            ar.write([("debian-binary", b"2.0\n"), ("control.tar.Z", b""), ("data.tar", b"")], 0),
            "control.tar.Z is compressed in an unknown way",
        ),
        (
            package.write(made("Package: a\nVersion: 1\n"), 0),
            "its control file has no Architecture",
        ),
        (package.write(made("nonsense\n"), 0), "control:1: not a field: 'nonsense'"),
        (package.write(replace(made(), data=b"x" * 600), 0), "a damaged data.tar"),
    ],
)
def test_what_is_no_package_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    source = tmp_path / "hello.deb"
    source.write_bytes(data)
    changes = DebChanges(tree=TreeChanges(delete=("etc/hello",)))
    with pytest.raises(ConfigError) as caught:
        story.patch(source, Target(path=tmp_path / "new.deb"), changes)
    assert said in str(caught.value)
    assert not (tmp_path / "new.deb").exists()


def test_lists_and_sums_fit_after_a_change(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("x" * 3000)
    changes = TreeChanges(
        delete=("etc/bye",),
        add=(Wish(source=tmp_path / "new", path="usr/new"),),
        replace=(Substitution(path="var/mail", old="hello", new="HELLO"),),
        epoch=7,
    )
    new = changed(DebChanges(tree=changes, suffix="+acme1"))
    assert new.fields.value("Version") == "1:2.0-1+acme1"
    assert new.fields.value("Installed-Size") == "9"  # 3 + 1 + 1 for files, 4 for directories
    assert text(new, "conffiles") == "/etc/hello\n"
    assert text(new, "md5sums").splitlines() == [
        f"{hashlib.md5(b'x' * 3000, usedforsecurity=False).hexdigest()}  usr/new",
        f"{hashlib.md5(b'HELLO' + bytes([10]), usedforsecurity=False).hexdigest()}  var/mail",
    ]
    assert "var/mail" in package.owners(new)


def test_control_files_are_changed_too(tmp_path: Path) -> None:
    (tmp_path / "prerm").write_text("#!/bin/sh\n")
    changes = TreeChanges(
        add=(Wish(source=tmp_path / "prerm", path="DEBIAN/"),),
        replace=(Substitution(path="DEBIAN/postinst", old="a", new="b"),),
        delete=("DEBIAN/triggers",),
    )
    new = changed(
        DebChanges(tree=changes, fields={"Section": "misc", "Maintainer": ""}),
        made(postinst="a\n", triggers="x\n"),
    )
    assert text(new, "postinst") == "b\n"
    assert new.files["prerm"].mode == 0o755
    assert "triggers" not in new.files
    assert new.fields.value("Section") == "misc"
    assert "Maintainer" not in text(new, "control")


def test_a_file_becomes_the_administrators() -> None:
    new = changed(DebChanges(suffix="+1", conffiles=("var/mail",)))
    assert text(new, "conffiles") == "/etc/hello\n/etc/bye\n/var/mail\n"
    assert "md5sums" not in new.files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (DebChanges(), "nothing to do"),
        (DebChanges(suffix="+a b"), "not a suffix of a version"),
        (DebChanges(fields={"a b": "c"}), "not a field of a control file"),
        (DebChanges(suffix="+1", conffiles=("etc/no",)), "/etc/no is not in it"),
        (DebChanges(tree=TreeChanges(delete=("etc/no",))), "etc/no is not in it"),
        (DebChanges(tree=TreeChanges(delete=("DEBIAN/no",))), "DEBIAN/no is not in it"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(changes: DebChanges, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(changes)


def test_a_directory_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no DEBIAN/control"):
        story.build(tmp_path, Target(path=tmp_path / "x.deb"), DebChanges())


ORDER = ("0~~", "0~", "0", "0a", "0+", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0.1", "1.10", "1:0")


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)))
def test_versions_have_an_order(first: str, second: str) -> None:
    assert version.compare(first, second) < 0 < version.compare(second, first)
    assert version.compare(first, first) == 0


def test_equal_versions_may_be_written_in_other_ways() -> None:
    assert version.compare("1.0-0", "1.0") == 0
    assert version.compare("0:1.00", "1.0") == 0


def known(*rows: str) -> Known:
    return Known([control.parse(row, "x") for row in rows])


@pytest.mark.parametrize(
    ("needs", "missing"),
    [
        ("libc6 (>= 2.3)", []),
        ("libc6 (>> 9)", ["hello needs libc6 (>> 9)"]),
        ("apt (<< 1) | mail-agent", []),
        ("mail-agent (>= 1)", ["hello needs mail-agent (>= 1)"]),
        ("api (= 4)", []),
        ("a, b:any [amd64] <!nocheck>", ["hello needs a", "hello needs b:any [amd64] <!nocheck>"]),
    ],
)
def test_what_is_missing_is_named(needs: str, missing: list[str]) -> None:
    there = known(
        "Package: libc6\nVersion: 2.36-9\n",
        "Package: exim\nVersion: 4\nProvides: mail-agent, api (= 4)\n",
    )
    row = control.parse(f"Package: hello\nDepends: {needs}\n", "x")
    assert [str(each) for each in depends.missing([row], there)] == missing


def test_what_is_no_dependency_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hello: not a dependency: 'a \(\)'"):
        depends.missing([control.parse("Package: hello\nDepends: a ()\n", "x")], known())


@dataclass
class Memory:
    files: Mapping[str, bytes]

    def paths(self) -> Iterable[str]:
        return self.files

    def read(self, path: str) -> bytes:
        return self.files[path]


def given(fields: str = CONTROL) -> pool.Given:
    (one,) = pool.given([(package.write(made(fields), 0), "new.deb")])
    return one


def test_a_flat_pool_has_one_version_of_each_package() -> None:
    old = package.write(made(CONTROL.replace("2.0-1", "1.9")), 0)
    files = {"pve/hello_1.9_amd64.deb": old, "pve/note": b"", "other/x.deb": b"damaged"}
    done = pool.flat(Memory(files), "/pve/", [given()], [])
    assert list(done.files) == ["pve/hello_2.0-1_amd64.deb"]
    assert done.removed == ("pve/hello_1.9_amd64.deb",)
    assert [str(each) for each in done.missing] == [
        "hello needs libc6 (>= 2.3)",
        "hello needs dpkg | apt (<< 1)",
    ]
    with pytest.raises(ConfigError, match="has no package in it"):
        pool.flat(Memory(files), "nowhere", [given()], [])


RELEASE = """\
Suite: test
Acquire-By-Hash: yes
SHA256:
 00 0 main/binary-amd64/Packages
 00 0 main/binary-amd64/Packages.gz
 11 1 main/i18n/Translation-en
"""
REPOSITORY = {
    "dists/test/Release": RELEASE.encode(),
    "dists/test/main/binary-amd64/Packages.gz": gzip.compress(b"Package: libc6\nVersion: 3\n"),
    "dists/test/main/binary-amd64/by-hash/SHA256/00": b"",
}


def test_the_lists_of_a_suite_are_renewed() -> None:
    done = pool.indexed(Memory(REPOSITORY), "", [given()], [], 0)
    path = "pool/main/h/hello/hello_2.0-1_amd64.deb"
    assert done.files[path] == given().content
    packages = gzip.decompress(done.files["dists/test/main/binary-amd64/Packages.gz"]).decode()
    (hello, libc) = control.paragraphs(packages, "x")
    assert (hello.value("Filename"), libc.value("Package")) == (path, "libc6")
    assert hello.value("Description") == "says hello\n And no more."
    release = done.files["dists/test/Release"].decode()
    assert "Date: Thu, 01 Jan 1970 00:00:00 UTC\n" in release
    assert " 11        1 main/i18n/Translation-en\n" in release
    assert " 00 0 main" not in release
    assert any("by-hash/SHA256/" in name for name in done.files)
    assert [str(each) for each in done.missing] == ["hello needs dpkg | apt (<< 1)"]
    assert done.unsigned == ("dists/test/Release",)


@pytest.mark.parametrize(
    ("files", "suite", "fields", "said"),
    [
        (REPOSITORY, "other", CONTROL, "there is no suite 'other'"),
        ({}, "", CONTROL, "there is no suite"),
        ({"dists/test/Release": b"Suite: test\n"}, "test", CONTROL, "has no list of packages"),
        (REPOSITORY, "", CONTROL.replace("amd64", "arm64"), "is for no architecture of dists/test"),
    ],
)
def test_a_pool_that_cannot_take_a_package_is_named(
    files: dict[str, bytes], suite: str, fields: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        pool.indexed(Memory(files), suite, [given(fields)], [], 0)

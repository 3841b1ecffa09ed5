"""dpkg, apt and GnuPG agree with what is made of packages and pools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.deb import version
from imagebuilder.process import find

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.tools,
    *(
        pytest.mark.skipif(not find(tool), reason=f"needs {tool}")
        for tool in ("dpkg-deb", "apt-get", "gpg")
    ),
]


def said(*words: str | Path) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def hello(workshop: Workshop) -> Path:
    """A package as dpkg-deb makes it."""
    tree = workshop.directory / "tree"
    for name, text in {
        "DEBIAN/control": "Package: hello\nVersion: 1.0\nArchitecture: all\n"
        "Maintainer: Me <me@example.org>\nDepends: base\nDescription: hello\n",
        "DEBIAN/conffiles": "/etc/hello\n",
        "DEBIAN/postinst": "#!/bin/sh\necho hello\n",
        "etc/hello": "hello\n",
        "usr/share/hello": "hello\n",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    (tree / "DEBIAN/postinst").chmod(0o755)
    os.link(tree / "usr/share/hello", tree / "usr/share/again")
    (tree / "usr/share/link").symlink_to("hello")
    package = workshop.directory / "hello_1.0_all.deb"
    said("dpkg-deb", "--root-owner-group", "-b", tree, package)
    return package


PATCH = ("--version-suffix", "+acme1", "--replace", "usr/share/hello", "hello", "HELLO",
         "--replace", "DEBIAN/postinst", "hello", "bye")  # fmt: skip


def test_dpkg_takes_a_changed_package(workshop: Workshop, hello: Path) -> None:
    new = workshop.directory / "hello_1.0+acme1_all.deb"
    done = workshop.imagebuilder("deb", "patch", str(hello), "-o", str(new), *PATCH)
    assert (done.returncode, done.stderr) == (0, "")
    assert said("dpkg-deb", "-f", new, "Version").strip() == "1.0+acme1"
    assert said("dpkg-deb", "-I", new, "conffiles") == "/etc/hello\n"
    assert "echo bye" in said("dpkg-deb", "-I", new, "postinst")
    tree = workshop.directory / "new"
    said("dpkg-deb", "-x", new, tree)
    assert (tree / "usr/share/again").samefile(tree / "usr/share/hello")
    assert (tree / "usr/share/link").readlink() == Path("hello")
    sums = said("dpkg-deb", "-I", new, "md5sums")
    subprocess.run(["md5sum", "-c", "--quiet"], cwd=tree, input=sums, text=True, check=True)
    again = workshop.directory / "again.deb"
    workshop.imagebuilder("deb", "patch", str(hello), "-o", str(again), *PATCH)
    assert again.read_bytes() == new.read_bytes()


def test_a_package_is_taken_apart_and_built(workshop: Workshop, hello: Path) -> None:
    assert workshop.imagebuilder("deb", "unpack", str(hello), "-o", "apart").returncode == 0
    (workshop.directory / "apart/etc/hello").write_text("changed\n")
    words = ("deb", "build", "apart", "-o", "hello_1.0.1_all.deb", "--version-suffix", ".1")
    assert workshop.imagebuilder(*words).returncode == 0
    tree = workshop.directory / "new"
    said("dpkg-deb", "-x", workshop.directory / "hello_1.0.1_all.deb", tree)
    assert (tree / "etc/hello").read_text() == "changed\n"
    done = workshop.imagebuilder("deb", "unpack", str(hello), "-o", "apart")
    assert (done.returncode, done.stderr) == (2, "error: apart: exists already\n")


def test_versions_are_ordered_as_dpkg_orders_them() -> None:
    several = (
        "0~~",
        "0~",
        "0",
        "0a",
        "0a~1",
        "0+",
        "1.0~rc1-1",
        "1.0-1",
        "1.0-1+b1",
        "1:0",
        "1.10",
    )
    for first in several:
        for second in several:
            command = ["dpkg", "--compare-versions", first, "lt", second]
            earlier = subprocess.run(command, check=False).returncode == 0
            assert (version.compare(first, second) < 0) is earlier, (first, second)


@pytest.fixture
def key(workshop: Workshop) -> Iterator[str]:
    home = workshop.directory / "gnupg"
    home.mkdir(mode=0o700)
    workshop.environment["GNUPGHOME"] = str(home)
    command = [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-gen-key",
        "pool@example.org",
        "ed25519",
    ]
    subprocess.run(command, env={**os.environ, "GNUPGHOME": str(home)}, check=True)
    yield "pool@example.org"
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def repository(top: Path) -> None:
    lists = top / "dists/test/main/binary-amd64"
    lists.mkdir(parents=True)
    (lists / "Packages").touch()
    (top / "dists/test/Release").write_text(
        "Suite: test\nCodename: test\nArchitectures: amd64\nComponents: main\nSHA256:\n"
    )
    (top / "dists/test/InRelease").touch()


def test_apt_trusts_a_pool_that_is_signed_again(workshop: Workshop, hello: Path, key: str) -> None:
    top = workshop.directory / "pool"
    repository(top)
    words = ("deb", "add", "pool", str(hello))
    lacking = workshop.imagebuilder(*words, "--key", key)
    assert (lacking.returncode, "hello needs base" in lacking.stderr) == (2, True)
    words = (*words, "--allow-missing")
    bare = workshop.imagebuilder(*words)
    assert (bare.returncode, "is signed, and would be so no more" in bare.stderr) == (2, True)
    unknown = workshop.imagebuilder(*words, "--key", "nobody")
    assert (unknown.returncode, "no secret key 'nobody'" in unknown.stderr) == (2, True)
    assert not (top / "pool").exists()
    done = workshop.imagebuilder(*words, "--key", key, "--export-key", "key.asc")
    assert done.returncode == 0, done.stderr
    (workshop.directory / "lists/partial").mkdir(parents=True)
    source = workshop.directory / "sources.list"
    source.write_text(f"deb [signed-by={workshop.directory}/key.asc] copy:{top} test main\n")
    options = {
        "Dir::Etc::SourceList": str(source),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": str(workshop.directory / "lists"),
        "Dir::Cache": str(workshop.directory),
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    said("apt-get", *given, "update", "-qq", "--error-on=any")
    assert "hello" in said("apt-cache", *given, "show", "hello")


def test_a_key_with_a_passphrase_is_an_error_and_no_question(
    workshop: Workshop, hello: Path, key: str
) -> None:
    repository(workshop.directory / "pool")
    home = workshop.environment["GNUPGHOME"]
    subprocess.run(
        ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "secret",
         "--quick-gen-key", "locked@example.org", "ed25519"],
        env={**os.environ, "GNUPGHOME": home}, check=True,
    )  # fmt: skip
    subprocess.run(
        ["gpgconf", "--kill", "gpg-agent"], env={**os.environ, "GNUPGHOME": home}, check=True
    )
    words = ("deb", "add", "pool", str(hello), "--allow-missing", "--key", "locked@example.org")
    done = workshop.imagebuilder(*words)
    assert done.returncode == 2
    assert "cannot sign" in done.stderr
    assert key

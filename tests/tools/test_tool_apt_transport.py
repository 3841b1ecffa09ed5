"""apt and the download cache: nothing is fetched twice, nothing wrong is taken."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import signed_archive
from signed_archive import Archive

from imagebuilder.cache.downloads import Downloads

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        not all(map(shutil.which, signed_archive.NEEDED)), reason="needs apt-get, dpkg-deb and gpg"
    ),
]
TRANSPORT = Path(__file__).parents[2] / "elements/dpkg/dpkg/http"
RELEASE = "/dists/tiny/InRelease"


@dataclass
class Machine:
    """apt with directories of its own, and the cache that its transport sees."""

    directory: Path
    archive: Archive

    @property
    def downloads(self) -> Downloads:
        return Downloads(self.directory / "downloads/store")

    @property
    def new(self) -> Path:
        return self.directory / "downloads/new"

    def fresh(self) -> None:
        """Forget indices and packages, but not the cache."""
        for name in ("state", "cache"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "state/status").touch()
        self.archive.asked.clear()

    def apt(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        here = self.directory
        (here / "sources.list").write_text(self.archive.line + "\n")
        options = {
            "APT::Architecture": "amd64", "APT::Sandbox::User": "root",
            "Acquire::Languages": "none", "Acquire::Retries": "0",
            "Dir::State": f"{here}/state", "Dir::State::lists": f"{here}/state/lists",
            "Dir::State::status": f"{here}/state/status", "Dir::Cache": f"{here}/cache",
            "Dir::Etc::sourcelist": f"{here}/sources.list", "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Bin::Methods::http": str(TRANSPORT),
        }  # fmt: skip
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMP_BUILD_DIR": str(here)}
        return subprocess.run(
            ["apt-get", *pairs, *words],
            env={**environment, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def download(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Read the indices, then download both packages; the last step's outcome."""
        done = self.apt("update", "--error-on=any", **variables)
        if done.returncode:
            return done
        return self.apt("-y", "--download-only", "install", "one", "two", **variables)

    def collect(self) -> None:
        """Take in what the transport has left, as the builder does."""
        for line in (self.new / "urls").read_text().splitlines():
            digest, url = line.split()
            assert self.downloads.keep(self.new / digest) == digest
            self.downloads.remember(url, digest)
        shutil.rmtree(self.new)
        self.new.mkdir()

    def got(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (self.directory / "cache/archives").glob("*.deb")}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    archive = signed_archive.make(tmp_path / "archive", "one", "two")
    with signed_archive.served(archive):
        machine = Machine(tmp_path, archive)
        machine.new.mkdir(parents=True)
        assert machine.downloads.make()
        machine.fresh()
        yield machine


def packages(machine: Machine) -> dict[str, bytes]:
    paths = [machine.archive.package(name) for name in ("one", "two")]
    return {path.name: path.read_bytes() for path in paths}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_fetched_is_left_for_the_cache(machine: Machine) -> None:
    assert machine.download().returncode == 0
    one = machine.archive.package("one")
    lines = (machine.new / "urls").read_text().splitlines()
    assert f"{digest(one)} {machine.archive.url}/pool/{one.name}" in lines
    assert len(lines) == 4  # the signed index, the list of packages, two packages
    assert (machine.new / digest(one)).read_bytes() == one.read_bytes()
    assert machine.got() == packages(machine)


def test_what_is_in_the_cache_is_not_fetched(machine: Machine) -> None:
    machine.download()
    machine.collect()
    machine.fresh()
    assert machine.download().returncode == 0
    assert machine.archive.asked == [RELEASE]
    assert machine.got() == packages(machine)
    used = set((machine.new / "used").read_text().split())
    assert {digest(machine.archive.package(name)) for name in ("one", "two")} <= used


@pytest.mark.parametrize("damage", ["changed", "truncated", "another"])
def test_what_is_damaged_is_fetched_again(machine: Machine, damage: str) -> None:
    machine.download()
    machine.collect()
    machine.fresh()
    one, two = (machine.archive.package(name) for name in ("one", "two"))
    content = one.read_bytes()
    wrong = {
        "changed": content[:-1] + b"!", "truncated": content[:100], "another": two.read_bytes()
    }  # fmt: skip
    machine.downloads.path(digest(one)).write_bytes(wrong[damage])
    assert machine.download().returncode == 0
    assert machine.archive.asked == [RELEASE, f"/pool/{one.name}"]
    assert machine.got() == packages(machine)
    machine.collect()
    assert machine.downloads.find(digest(one))


def test_a_package_that_the_server_has_changed_is_refused(machine: Machine) -> None:
    one = machine.archive.package("one")
    one.write_bytes(one.read_bytes()[:-1] + b"!")
    done = machine.download()
    assert done.returncode != 0
    assert "Hash Sum mismatch" in done.stderr


def test_offline_everything_comes_from_the_cache(machine: Machine) -> None:
    machine.download()
    machine.collect()
    machine.fresh()
    done = machine.download(DIB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert machine.archive.asked == []
    assert machine.got() == packages(machine)


def test_offline_what_is_missing_is_named(machine: Machine) -> None:
    machine.download()
    machine.collect()
    machine.fresh()
    one = machine.archive.package("one")
    machine.downloads.discard(digest(one))
    done = machine.download(DIB_OFFLINE="1")
    assert done.returncode != 0
    assert "not in the download cache (offline)" in done.stderr
    assert (machine.new / "missing").read_text() == f"{machine.archive.url}/pool/{one.name}\n"
    assert machine.archive.asked == []


def test_offline_an_index_that_is_not_signed_is_refused(machine: Machine) -> None:
    machine.download()
    machine.collect()
    machine.fresh()
    url = machine.archive.url + RELEASE
    signed = machine.downloads.path(machine.downloads.recall(url)).read_bytes()
    forged = machine.directory / "forged"
    forged.write_bytes(signed.replace(b"Origin: Test", b"Origin: Evil"))
    machine.downloads.remember(url, machine.downloads.keep(forged))
    done = machine.download(DIB_OFFLINE="1")
    assert done.returncode != 0
    assert "invalid" in done.stderr


def test_messages_of_the_cache_and_of_the_real_transport_do_not_mix(tmp_path: Path) -> None:
    """Both answer at once here, which apt's own programs do only now and then."""
    methods, wishes = tmp_path / "methods", 60
    methods.mkdir()
    status = "102 Status\nURI: http://here/real\nMessage: one\nMore: two\n"
    real = f"until read -r -t 0.001 || [ $? = 1 ]; do\nprintf '%s\\n' '{status}'\ndone\n"
    (methods / "http").write_text(f"#!/bin/bash\n{real}")
    (methods / "http").chmod(0o755)
    (methods / "copy").symlink_to("/usr/lib/apt/methods/copy")
    text = TRANSPORT.read_text()
    assert "methods=/usr/lib/apt/methods\n" in text
    transport = tmp_path / "http"
    transport.write_text(text.replace("methods=/usr/lib/apt/methods\n", f"methods={methods}\n"))
    store = Downloads(tmp_path / "downloads/store")
    (tmp_path / "downloads/new").mkdir(parents=True)
    assert store.make()
    (tmp_path / "package").write_text("content")
    key = store.keep(tmp_path / "package")
    names = f"URI: http://here/kept\nFilename: {tmp_path}/got\n"
    done = subprocess.run(
        ["bash", transport],
        input=f"600 URI Acquire\n{names}Expected-SHA256: {key}\n\n" * wishes,
        env={"PATH": "/usr/bin:/bin", "TMP_BUILD_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    messages = Counter(done.stdout.replace("\n\n", "\n\0").split("\0"))
    kept = f"201 URI Done\n{names}Size: 7\nSHA256-Hash: {key}\n"
    assert done.returncode == 0, done.stderr
    assert set(messages) == {status, kept, ""}
    assert messages[kept] == wishes

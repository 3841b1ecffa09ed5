"""A tiny package archive, signed with a key of its own, and a web server on loopback for it."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SUITE = "tiny"
INDEX = f"dists/{SUITE}/main/binary-amd64/Packages"
NEEDED = ("apt-get", "dpkg-deb", "gpg", "gpgv")


@dataclass
class Archive:
    """The archive in `root`; `asked` are the paths that somebody has asked the server for."""

    root: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def keyring(self) -> Path:
        return self.root / "keyring.gpg"

    @property
    def line(self) -> str:
        """The archive as a line of sources.list."""
        return f"deb [signed-by={self.keyring}] {self.url} {SUITE} main"

    def package(self, name: str) -> Path:
        """Where the package is."""
        return self.root / "pool" / f"{name}_1_amd64.deb"


class _Handler(SimpleHTTPRequestHandler):
    archive: Archive

    def __init__(self, archive: Archive, *rest: object) -> None:
        self.archive = archive
        super().__init__(*rest, directory=str(archive.root))  # type: ignore[arg-type] # its own

    def do_GET(self) -> None:
        self.archive.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(archive: Archive) -> Generator[Archive, None, None]:
    """Have the archive's files on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, archive))
    archive.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make(root: Path, *packages: str) -> Archive:
    """Write an archive of empty packages."""
    archive = Archive(root)
    (root / "pool").mkdir(parents=True)
    (root / INDEX).parent.mkdir(parents=True)
    entries = [_package(archive, name) for name in packages]
    content = "\n".join(entries).encode()
    (root / INDEX).write_bytes(content)
    (root / f"{INDEX}.xz").write_bytes(lzma.compress(content))
    _sign(archive)
    return archive


def _package(archive: Archive, name: str) -> str:
    """Make a package; its entry in the index."""
    fields = (
        f"Package: {name}\nVersion: 1\nArchitecture: amd64\n"
        f"Maintainer: A Test <test@example.org>\nDescription: the package {name}\n"
    )
    tree = archive.root / "trees" / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(fields)
    (tree / "etc").mkdir()
    (tree / f"etc/{name}").write_text(name * 1000)
    made = archive.package(name)
    run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(made))
    content = made.read_bytes()
    return (
        f"{fields}Filename: pool/{made.name}\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
    )


def _sign(archive: Archive) -> None:
    directory = archive.root / "dists" / SUITE
    lines = [
        f" {hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size}"
        f" {path.relative_to(directory)}"
        for path in sorted((archive.root / INDEX).parent.iterdir())
    ]
    fields = (
        f"Origin: Test\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\n"
        "Components: main\nDate: Fri, 01 Jan 2021 00:00:00 UTC\nSHA256:\n"
    )
    home = tempfile.mkdtemp(prefix="gpg.")  # gpg's sockets want a short path
    gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback",
           "--passphrase", "")  # fmt: skip
    try:
        run(*gpg, "--quick-generate-key", "Test <test@example.org>", "rsa2048", "sign", "never")
        run(*gpg, "--output", str(archive.keyring), "--export")
        release, signed = directory / "Release.new", directory / "InRelease"
        release.write_text(fields + "\n".join(lines) + "\n")
        run(*gpg, "--clearsign", "--output", str(signed), str(release))
        release.unlink()
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def run(*words: str, **variables: str) -> str:
    """The output of a program that has to succeed."""
    done = subprocess.run(
        words, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

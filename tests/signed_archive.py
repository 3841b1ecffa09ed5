"""A tiny package archive, signed with a key of its own, and a web server on loopback for it."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

SUITE = "tiny"
INDEX = f"dists/{SUITE}/main/binary-amd64/Packages"
NEEDED = ("apt-get", "dpkg-deb", "gpg", "gpgv")
Sign = Callable[[str, Path], None]  # a text goes into a file, signed


@dataclass
class Archive:
    """The archive in `root`; `asked` are the paths that somebody has asked the server for.

    `faults` are paths that are not answered with their files: with other bytes, or with None by
    "not found". After so many requests for packages as `patience` says, none is answered at all.
    """

    root: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    faults: Mapping[str, bytes | None] = field(default_factory=dict)
    patience: int = 10**6

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
    """Answers with the archive's files, or with its faults."""

    archive: Archive

    def __init__(self, archive: Archive, *rest: object) -> None:
        self.archive = archive
        super().__init__(*rest, directory=str(archive.root))  # type: ignore[arg-type] # its own

    def do_GET(self) -> None:
        self.archive.asked.append(self.path)
        path = unquote(self.path)
        if sum(asked.endswith(".deb") for asked in self.archive.asked) > self.archive.patience:
            self.close_connection = True
            return
        if path not in self.archive.faults:
            super().do_GET()
            return
        content = self.archive.faults[path]
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

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
    directory = root / "dists" / SUITE
    fields = (
        f"Origin: Test\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\n"
        "Components: main\nDate: Fri, 01 Jan 2021 00:00:00 UTC\n"
    )
    with signer(archive.keyring) as sign:
        sign(fields + checksums(directory), directory / "InRelease")
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


def checksums(suite: Path) -> str:
    """The field of a suite's index that names its files, which are there already."""
    lines = [
        f" {hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size}"
        f" {path.relative_to(suite)}\n"
        for path in sorted(suite.rglob("Packages*"))
    ]
    return "SHA256:\n" + "".join(lines)


@contextmanager
def signer(keyring: Path) -> Generator[Sign, None, None]:
    """Make a key, put its public half into `keyring`, and have it sign."""
    home = tempfile.mkdtemp(prefix="gpg.")  # gpg's sockets want a short path
    gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback",
           "--passphrase", "")  # fmt: skip

    def sign(text: str, path: Path) -> None:
        plain = Path(home, "text")
        plain.write_text(text)
        run(*gpg, "--clearsign", "--output", str(path), str(plain))

    try:
        run(*gpg, "--quick-generate-key", "Test <test@example.org>", "rsa2048", "sign", "never")
        run(*gpg, "--output", str(keyring), "--export")
        yield sign
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

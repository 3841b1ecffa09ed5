"""Downloaded files, each under the SHA-256 of its content, and what an address led to last.

    files/<digest>   the content; its mtime is the origin's, its atime that of the last use
    urls/<digest of the address>   the digest and the address, on one line
    drafts/<random>  being written, by whoever has it locked

Whoever looks for a file knows its digest from somebody who signed it, so what is put in here can
harm nobody; whoever asks by address has to check what he gets, or to trust who wrote it down.
Nothing of it can fail a build: what is damaged counts as absent, and what cannot be kept is not.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagebuilder.cache import lock
from imagebuilder.cache.model import checked_key, is_key
from imagebuilder.events import Listener, Said, ignore
from imagebuilder.sizes import Size

DIRECTORY = "downloads"  # in the directory of caches
PARTS = ("files", "urls", "drafts")
CHUNK = 1 << 20
LONGEST_URL = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file of the store; `url` is where it was last had from, if that is known."""

    digest: str
    size: Size
    used: datetime
    url: str = ""


@dataclass(frozen=True, slots=True)
class Downloads:
    """The files below `root`, which is made when something is to be kept."""

    root: Path
    listener: Listener = ignore

    @property
    def writable(self) -> bool:
        """Whether files can be kept; a store that cannot be written to is still used."""
        return os.access(self.root / "drafts", os.W_OK | os.X_OK)

    def make(self) -> bool:
        """Make the directories; False if that cannot be done."""
        with suppress(OSError):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in PARTS:
                (self.root / part).mkdir(mode=0o700, exist_ok=True)
        return self.writable

    def path(self, digest: str) -> Path:
        """Where the file with this digest is, if it is there."""
        return self.root / "files" / checked_key(digest)

    def keep(self, source: Path) -> str:
        """Copy a file into the store; its digest, or nothing if it cannot be kept.

        What is at `source` may have been made by anybody: only regular files are taken.
        """
        try:
            with self._draft() as (draft, file):
                digest, times = _copy(source, file)
                os.utime(draft, ns=times)
                draft.rename(self.path(digest))
        except OSError as error:
            self._warn(f"{source.name} is not kept: {error.strerror}")
            return ""
        return digest

    def find(self, digest: str) -> Path | None:
        """The file, if it is there and has this digest; what is damaged goes."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                    return path
        except OSError:
            return None
        self.discard(digest)
        self._warn(f"cached download {digest[:12]} was damaged")
        return None

    def remember(self, url: str, digest: str) -> None:
        """Note that `url` led to the file with this digest, if that can be written down."""
        if not is_url(url) or not is_key(digest):
            return
        with suppress(OSError), self._draft() as (draft, file):
            os.write(file, f"{digest} {url}\n".encode())
            draft.rename(self._record(url))

    def recall(self, url: str) -> str:
        """The digest of what `url` led to; nothing if that is not known."""
        return self._read(self._record(url)).get(url, "")

    def used(self, digest: str) -> None:
        """Note that the file was of use."""
        with suppress(OSError):
            path = self.path(digest)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def digests(self) -> tuple[str, ...]:
        """The digests that files claim to have, in order."""
        with suppress(OSError):
            names = (path.name for path in (self.root / "files").iterdir())
            return tuple(sorted(filter(is_key, names)))
        return ()

    def entries(self) -> tuple[Download, ...]:
        """All files, the least recently used first; their contents are not looked at."""
        urls = {digest: url for url, digest in self._addresses().items()}
        found = []
        for digest in self.digests():
            with suppress(OSError):
                status = self.path(digest).stat()
                used = datetime.fromtimestamp(status.st_atime, UTC)
                size, url = Size(status.st_size), urls.get(digest, "")
                found.append(Download(digest=digest, size=size, used=used, url=url))
        return tuple(sorted(found, key=lambda download: (download.used, download.digest)))

    def discard(self, digest: str) -> bool:
        """Remove a file; whoever has it open keeps what he has."""
        with suppress(OSError):
            self.path(digest).unlink()
            return True
        return False

    def sweep(self) -> None:
        """Remove what writers that have died left behind, and addresses of what is gone."""
        if not self.writable:
            return
        for draft in tuple((self.root / "drafts").iterdir()):
            with suppress(OSError):
                fd = lock.acquire(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()
                lock.release(fd)
        known = set(self.digests())
        for url, digest in self._addresses().items():
            if digest not in known:
                self._record(url).unlink(missing_ok=True)

    @contextmanager
    def _draft(self) -> Generator[tuple[Path, int], None, None]:
        """A new file, and a descriptor of it; it is gone afterwards unless it was renamed."""
        draft = self.root / "drafts" / secrets.token_hex(8)
        fd = lock.acquire(draft, fcntl.LOCK_EX)
        try:
            yield draft, fd
        finally:
            draft.unlink(missing_ok=True)
            lock.release(fd)

    def _addresses(self) -> dict[str, str]:
        """The digest of what each address led to; records that are not whole are left out."""
        found: dict[str, str] = {}
        with suppress(OSError):
            for record in sorted((self.root / "urls").iterdir()):
                found |= self._read(record)
        return found

    def _read(self, record: Path) -> dict[str, str]:
        with suppress(OSError, UnicodeDecodeError):
            digest, _, url = record.read_text().removesuffix("\n").partition(" ")
            if is_key(digest) and record == self._record(url):
                return {url: digest}
        return {}

    def _record(self, url: str) -> Path:
        return self.root / "urls" / hashlib.sha256(url.encode()).hexdigest()

    def _warn(self, text: str) -> None:
        self.listener(Said(text, warning=True))


def is_url(text: str) -> bool:
    """Whether this can be written down as an address."""
    return (
        0 < len(text) <= LONGEST_URL and text.isascii() and text.isprintable() and " " not in text
    )


def _copy(source: Path, target: int) -> tuple[str, tuple[int, int]]:
    """Copy a regular file; its digest, and the times that the copy is to have (ns)."""
    if not stat.S_ISREG(source.lstat().st_mode):  # opening a device may do something
        raise OSError(errno.EINVAL, "not a regular file", str(source))
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file, os.fdopen(os.dup(target), "wb") as copy:
        status = os.fstat(fd)
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest(), (time.time_ns(), status.st_mtime_ns)

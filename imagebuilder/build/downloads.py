"""Lends hooks the download cache, and takes in what they have fetched.

Hooks see `store`, read-only, and put what is not in there into `new`: files under any name, and
in `urls` a digest and an address on a line. What hooks in the root tree say about addresses is
not believed, for they could lead later builds astray: what they had from a package index's
address is fetched once more, by the host.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagebuilder import process
from imagebuilder.cache.downloads import DIRECTORY, Downloads
from imagebuilder.cache.model import is_key
from imagebuilder.errors import BuildError, HookError, Interrupted, OfflineError
from imagebuilder.events import Listener, ignore
from imagebuilder.hooks.place import DOWNLOADS, Place
from imagebuilder.options import Request, cache_directory
from imagebuilder.process import Command
from imagebuilder.sandbox import kernel

NAMES = ("urls", "used", "missing")  # lists in `new`; everything else there is a download
INDEX = re.compile(r"https?://[^\s]+/(InRelease|Release|Release\.gpg)")
FETCH = "/usr/lib/apt/apt-helper"
MOST = 50 << 20  # bytes of a list that are read


@contextmanager
def lent(request: Request, place: Place, listen: Listener) -> Generator[None, None, None]:
    """Let hooks use the cache; what they fetched is kept even if one of them fails.

    A hook that fails offline for want of a download raises OfflineError, which names it.
    """
    downloads = store_of(request, listen)
    _lend(downloads, place)
    try:
        yield
    except Interrupted:
        raise
    except HookError as error:
        _collect(downloads, place, offline=request.offline)
        if request.offline:
            _explain(place, error)
        raise
    except BuildError:
        _collect(downloads, place, offline=request.offline)
        raise
    _collect(downloads, place, offline=request.offline)


def store_of(request: Request, listen: Listener = ignore) -> Downloads:
    """The store of a build's downloads."""
    return Downloads(cache_directory(request) / DIRECTORY, listen)


def _lend(downloads: Downloads, place: Place) -> None:
    for part in ("store", "new"):
        (place.downloads / part).mkdir(parents=True)
        (place.hooks / DOWNLOADS / part).mkdir(parents=True)
    place.fetched.mkdir()
    if downloads.make() or downloads.digests():
        kernel.bind(downloads.root, place.downloads / "store")


def _collect(downloads: Downloads, place: Place, *, offline: bool) -> None:
    """Take in what was fetched, and note what was of use."""
    new = place.downloads / "new"
    if not offline:
        _fetch_again(_addresses(place.fetched) - _addresses(new), place)
    if downloads.writable:
        _keep(downloads, (*new.iterdir(), *place.fetched.iterdir()))
    for digest in {*_lines(place.fetched / "used"), *_lines(new / "used")}:
        if is_key(digest):
            downloads.used(digest)
    for line in _lines(new / "urls"):
        digest, _, url = line.partition(" ")
        if is_key(digest):
            downloads.remember(url, digest)


def _keep(downloads: Downloads, files: tuple[Path, ...]) -> None:
    for path in files:
        if path.name not in NAMES and not downloads.keep(path):
            return


def _fetch_again(addresses: set[str], place: Place) -> None:
    """Have the host fetch package indices that the root tree has fetched."""
    conf = {"APT_CONFIG": str(place.scratch / "apt.conf")}
    for number, url in enumerate(sorted(addresses)):
        if INDEX.fullmatch(url):
            target = place.scratch / f"index.{number}"
            with suppress(BuildError):
                process.run(Command((FETCH, "download-file", url, str(target)), env=conf))


def _explain(place: Place, error: HookError) -> None:
    """Raise OfflineError if a hook asked for something that was not there."""
    lists = (place.downloads / "new" / "missing", place.fetched / "missing")
    missing = tuple(dict.fromkeys(line for path in lists for line in _lines(path)))
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise OfflineError(
            f"not in the download cache: {shown(missing[0])}{more}",
            where=error.where,
            hint="run the same build once without --offline (DIB_OFFLINE)",
        ) from error


def shown(url: str) -> str:
    """An address, after what it is the address of."""
    suite = re.search(
        r"/dists/(\S+?)/(?:InRelease|Release|Release\.gpg|\S+/(?:by-hash|Packages)\S*)", url
    )
    if suite:
        return f"the index of {suite[1]} ({url})"
    package = re.search(r"/([^/_]+)_([^/_]+)_[^/_]+\.u?deb$", url)
    return f"the package {package[1]} ({url})" if package else url


def _addresses(directory: Path) -> set[str]:
    return {line.partition(" ")[2] for line in _lines(directory / "urls")}


def _lines(path: Path) -> Iterator[str]:
    """The lines of a list that hooks have written, who may have put anything there."""
    if not path.is_file() or path.is_symlink():
        return
    with suppress(OSError), path.open("rb") as file:
        for line in file.read(MOST).decode(errors="replace").splitlines():
            yield line.strip()

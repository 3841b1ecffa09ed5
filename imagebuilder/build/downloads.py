"""Lends hooks the download cache, and takes in what they have fetched.

Hooks see `store`, read-only, and put what is not in there into `new`: files under any name, and
in `urls` a digest and an address on a line. What hooks in the root tree say about addresses is
not believed, for they could lead later builds astray: what they had from a package index's
address is fetched once more, by the host.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from imagebuilder import process
from imagebuilder.cache.downloads import DIRECTORY, Downloads, is_url
from imagebuilder.cache.model import is_key
from imagebuilder.errors import (
    CommandError,
    ConfigError,
    HookError,
    Interrupted,
    OfflineError,
    SpaceError,
    ToolMissingError,
)
from imagebuilder.events import Listener, ignore
from imagebuilder.hooks.place import DOWNLOADS, Place
from imagebuilder.options import Request, cache_directory
from imagebuilder.process import Command
from imagebuilder.sandbox import kernel
from imagebuilder.sandbox.isolate import detach_below

URLS, USED, MISSING = LISTS = ("urls", "used", "missing")  # all else in `new` are downloads
INDEX = re.compile(r"https?://[^\s]+/(InRelease|Release|Release\.gpg)")
FETCH = ("/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file")
MOST = 50 << 20  # bytes of a list that are read


@contextmanager
def lent(request: Request, place: Place, listen: Listener) -> Generator[None, None, None]:
    """Let hooks use the cache; what they fetched is kept even if one of them fails.

    A hook that fails offline for want of a download raises OfflineError, which names it.
    """
    downloads = store_of(request, listen)
    for part in ("store", "new"):
        (place.downloads / part).mkdir(parents=True)
        (place.hooks / DOWNLOADS / part).mkdir(parents=True)
    place.fetched.mkdir()
    if downloads.make() or downloads.digests():
        kernel.bind(downloads.root, place.downloads / "store")
    try:
        yield
    except Interrupted:
        raise
    except HookError as error:
        collect(request, place, listen)
        if request.offline:
            _explain(place, error)
        raise
    else:
        collect(request, place, listen)
    finally:
        detach_below(place.downloads)


def store_of(request: Request, listen: Listener = ignore) -> Downloads:
    """The store of a build's downloads."""
    return Downloads(cache_directory(request) / DIRECTORY, listen)


def collect(request: Request, place: Place, listen: Listener) -> None:
    """Take in what hooks have fetched so far, and note what was of use to them."""
    downloads, new, fetched = store_of(request, listen), place.downloads / "new", place.fetched
    if downloads.writable:
        _keep(downloads, (*new.iterdir(), *fetched.iterdir()))
    for digest in filter(is_key, {*_lines(fetched / USED), *_lines(new / USED)}):
        downloads.used(digest)
    for line in _lines(new / URLS):
        digest, _, url = line.partition(" ")
        downloads.remember(url, digest)
    if not request.offline:
        _fetch_again(downloads, place, request.environment)
    for directory in (new, fetched):
        for name in (URLS, USED):
            (directory / name).unlink(missing_ok=True)


def _keep(downloads: Downloads, files: tuple[Path, ...]) -> None:
    """Move files into the store; what is no file, or does not fit, stays where it is."""
    for path in files:
        if path.name not in LISTS and downloads.keep(path):
            path.unlink()


def _fetch_again(downloads: Downloads, place: Place, environment: Mapping[str, str]) -> None:
    """Have the host fetch package indices that the root tree has fetched."""
    proxies = {name: value for name, value in environment.items() if name.endswith("_proxy")}
    found = place.scratch / "index"
    for url in sorted({line.partition(" ")[2] for line in _lines(place.fetched / URLS)}):
        if INDEX.fullmatch(url):
            with suppress(CommandError, ConfigError, SpaceError, ToolMissingError):
                process.run(Command((*FETCH, url, str(found)), env=proxies))
                downloads.remember(url, downloads.keep(found))
            found.unlink(missing_ok=True)


def _explain(place: Place, error: HookError) -> None:
    """Raise OfflineError if a hook asked for something that was not there."""
    lists = (place.downloads / "new" / MISSING, place.fetched / MISSING)
    missing = tuple(dict.fromkeys(line for path in lists for line in _lines(path) if is_url(line)))
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


def _lines(path: Path) -> Iterator[str]:
    """The lines of a list that hooks have written, who may have put anything there."""
    if not path.is_file() or path.is_symlink():
        return
    with suppress(OSError), path.open("rb") as file:
        for line in file.read(MOST).decode(errors="replace").splitlines():
            yield line.strip()

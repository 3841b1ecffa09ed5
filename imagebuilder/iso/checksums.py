"""Lists of checksums that an installer's ISO image has of its own files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

LISTS: Mapping[str, str] = {
    "md5sum.txt": "md5",
    "MD5SUMS": "md5",
    "md5sums": "md5",
    "sha256sum.txt": "sha256",
    "SHA256SUMS": "sha256",
}
LINE = re.compile(r"^([0-9a-f]{32,128})( [ *])(.+)$")
CHUNK = 2**20
IMPLANTED = "ISO MD5SUM"  # isomd5sum's mark in the volume descriptor's application use


def updated(
    text: str, gone: Iterable[str], added: Iterable[str], digest: Callable[[str], str]
) -> str:
    """The list with every line's checksum as `digest` gives it for the path, '' to keep it.

    Lines of files that are `gone` go, `added` ones come at the end if they are not there.
    """
    without, made, seen = set(gone), list[str](), set[str]()
    prefix, gap = "./", "  "
    for line in text.splitlines():
        found = LINE.match(line)
        if not found:
            made.append(line)
            continue
        path = found[3].removeprefix("./")
        prefix, gap = ("./" if found[3].startswith("./") else ""), found[2]
        if path not in without:
            seen.add(path)
            made.append(f"{digest(path) or found[1]}{gap}{found[3]}")
    new = sorted(set(added) - seen - without)
    return "\n".join((*made, *(f"{digest(path)}{gap}{prefix}{path}" for path in new))) + "\n"


def listed(text: str) -> dict[str, str]:
    """The checksums of a list, by path."""
    found = [match for line in text.splitlines() if (match := LINE.match(line))]
    return {match[3].removeprefix("./"): match[1] for match in found}


def of_file(algorithm: str, path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return digest(algorithm, iter(partial(file.read, CHUNK), b""))


def digest(algorithm: str, pieces: Iterable[bytes]) -> str:
    """The checksum of a content that comes in pieces, in hexadecimal."""
    made = hashlib.new(algorithm, usedforsecurity=False)
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()

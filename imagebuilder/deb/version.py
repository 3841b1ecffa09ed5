"""The order of versions (deb-version(7))."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

PART = re.compile(r"(\D*)(\d*)")
Parts = tuple[tuple[tuple[int, ...], int], ...]  # words that are no number, each with its number
SMALLEST = (0,)  # the end of a text; `~` is smaller


def key(version: str) -> tuple[int, Parts, Parts]:
    """A value that is ordered as versions are."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch) if epoch.isdigit() else 0, _parts(upstream), _parts(revision)


def compare(first: str, second: str) -> int:
    """Less than 0, 0 or more than 0, as the first is earlier, the same or later."""
    one, other = key(first), key(second)
    if one[0] != other[0]:
        return one[0] - other[0]
    for mine, theirs in ((one[1], other[1]), (one[2], other[2])):
        for left, right in zip_longest(mine, theirs, fillvalue=(SMALLEST, 0)):
            if left != right:
                return 1 if left > right else -1
    return 0


RELATIONS: Mapping[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "<": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Whether a version is what a dependency wants of it (Debian Policy 7.1)."""
    return RELATIONS[relation](compare(version, wanted))


def _parts(text: str) -> Parts:
    return tuple(_ordered(text))


def _ordered(text: str) -> Iterator[tuple[tuple[int, ...], int]]:
    for word, number in PART.findall(text):
        if word or number:
            yield tuple(map(_weight, word)) + SMALLEST, int(number or 0)


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256

"""Changes of texts that are refused unless they fit exactly: substitutions, unified diffs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagebuilder.errors import ConfigError

HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
NOTHING = "/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """`old` lines that become `new` ones; `line` counts from 1 in the old file."""

    line: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What a unified diff says of one file; an empty name stands for no file."""

    old: str
    new: str
    hunks: tuple[Hunk, ...]


def substitute(content: bytes, old: str, new: str, where: str) -> bytes:
    """Every `old` replaced by `new`; raise ConfigError if there is none."""
    pattern, replacement = (text.encode(errors="surrogateescape") for text in (old, new))
    if not pattern or pattern not in content:
        hint = _nearest(old, content.decode(errors="surrogateescape"))
        raise ConfigError(f"{old!r} does not occur in it", where=where, hint=hint)
    return content.replace(pattern, replacement)


def parse(text: str, where: str) -> tuple[Patch, ...]:
    """The files of a unified diff, whose names lose their first directory (`patch -p1`)."""
    lines = text.splitlines(keepends=True)
    starts = [
        index for index, line in enumerate(lines[:-1])
        if line.startswith("--- ") and lines[index + 1].startswith("+++ ")
    ]  # fmt: skip
    if not starts:
        hint = "'diff -u' and 'git diff' write them"
        raise ConfigError("not a unified diff", where=where, hint=hint)
    ends = [*starts[1:], len(lines)]
    return tuple(_file(lines[a:b], where) for a, b in zip(starts, ends, strict=True))


def apply(content: bytes, patch: Patch, where: str) -> bytes:
    """The content after the patch; raise ConfigError where it does not fit, to the line."""
    lines = content.decode(errors="surrogateescape").splitlines(keepends=True)
    made: list[str] = []
    done = 0
    for hunk in patch.hunks:
        begin = hunk.line - bool(hunk.old)
        end = begin + len(hunk.old)
        if begin < done or tuple(lines[begin:end]) != hunk.old:
            raise ConfigError(f"the patch does not fit at line {hunk.line}", where=where)
        made += [*lines[done:begin], *hunk.new]
        done = end
    return "".join((*made, *lines[done:])).encode(errors="surrogateescape")


def _file(lines: Sequence[str], where: str) -> Patch:
    names = [_name(line) for line in lines[:2]]
    hunks: list[Hunk] = []
    for index, line in enumerate(lines):
        if found := HUNK.match(line):
            counts = (int(found[2] or 1), int(found[4] or 1))
            hunks.append(_hunk(int(found[1]), lines[index + 1 :], counts, where))
    return Patch(old=names[0], new=names[1], hunks=tuple(hunks))


def _hunk(line: int, lines: Sequence[str], counts: tuple[int, int], where: str) -> Hunk:
    old: list[str] = []
    new: list[str] = []
    marks = {" ": (old, new), "\n": (old, new), "-": (old,), "+": (new,)}
    last: tuple[list[str], ...] = ()
    for text in lines:
        if text.startswith("\\"):
            for side in last:
                side[-1] = side[-1].removesuffix("\n")
        elif (len(old), len(new)) == counts:
            break
        else:
            last = marks.get(text[0], ())
            for side in last:
                side.append(text[1:] or "\n")
    if (len(old), len(new)) != counts:
        raise ConfigError(f"the patch's hunk for line {line} is not whole", where=where)
    return Hunk(line=line, old=tuple(old), new=tuple(new))


def _name(line: str) -> str:
    name = line[4:].split("\t")[0].strip()
    return "" if name == NOTHING else name.partition("/")[2] or name


def _nearest(wanted: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines()[:20000] if line.strip()]
    close = difflib.get_close_matches(wanted, lines[:2000], n=1, cutoff=0.5)
    return f"the nearest line is {close[0]!r}" if close else ""

"""isolinux' and syslinux' menus (SYSLINUX wiki, "Config" and "Menu").

Times are tenths of seconds there, and 0 means to wait for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from imagebuilder.iso import arguments
from imagebuilder.iso.menu import Entry, MenuChange, plain

LABEL = re.compile(r"^\s*label\s+(\S+)", re.IGNORECASE)
TITLE = re.compile(r"^(\s*menu\s+label\s+)(.*)$", re.IGNORECASE)
KERNEL = re.compile(r"^\s*(kernel|linux)\s+(\S+)", re.IGNORECASE)
INITRD = re.compile(r"^\s*initrd\s+(\S+)", re.IGNORECASE)
APPEND = re.compile(r"^(\s*append\s+)(.*)$", re.IGNORECASE)
DEFAULT = re.compile(r"^\s*default\s+(\S+)", re.IGNORECASE)
MARK = re.compile(r"^\s*menu\s+default\s*$", re.IGNORECASE)
PROGRAMS = (".c32", ".com", ".cbt")
SOONEST = "1"  # a tenth of a second


def entries(text: str) -> list[Entry]:
    """The labels of a menu that start something."""
    lines = text.splitlines()
    found = [_entry(lines[begin:end]) for begin, end in _blocks(lines)]
    return [entry for entry in found if entry.kernel]


def changed(text: str, change: MenuChange) -> str:
    """The menu after a change."""
    lines = text.splitlines()
    gone = {
        index
        for begin, end in _blocks(lines)
        if _entry(lines[begin:end]).kernel and change.removes(_entry(lines[begin:end]).title)
        for index in range(begin, end)
    }
    kept = [_line(line, change) for index, line in enumerate(lines) if index not in gone]
    if change.default:
        kept = _marked(kept, change.default)
    if change.timeout is not None and _is_first(lines):
        tenths = str(change.timeout * 10) if change.timeout else SOONEST
        kept = _set(_set(kept, "timeout", tenths), "prompt", "0")
    if change.default and _is_first(lines):
        kept = _with_default(kept, change.default)
    return "\n".join(kept) + "\n" * text.endswith("\n")


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    starts = [index for index, line in enumerate(lines) if LABEL.match(line)]
    for begin, following in pairwise([*starts, len(lines)]):
        end = begin + 1
        while end < following and (lines[end][:1].isspace() or not lines[end].strip()):
            end += 1
        if end == begin + 1:
            end = following
        yield begin, end


def _entry(block: Sequence[str]) -> Entry:
    label = LABEL.match(block[0])
    titles = [found[2].replace("^", "").strip() for line in block if (found := TITLE.match(line))]
    kernels = [plain(found[2]) for line in block if (found := KERNEL.match(line))]
    given = [found[2] for line in block if (found := APPEND.match(line))]
    named = [found[1] for line in block if (found := INITRD.match(line))]
    inline = [w.removeprefix("initrd=") for w in " ".join(given).split() if w.startswith("initrd=")]
    return Entry(
        title=titles[0] if titles else label[1] if label else "",
        kernel=kernels[0] if kernels else "",
        initrds=tuple(plain(p) for paths in (*named, *inline) for p in paths.split(",")),
        arguments=" ".join(given),
    )


def _line(line: str, change: MenuChange) -> str:
    if (found := TITLE.match(line)) and change.rename:
        title = found[2].replace("^", "").strip()
        new = change.titled(title)
        return line if new == title else found[1] + new
    if (found := APPEND.match(line)) and change.arguments and found[2].strip() != "-":
        words = arguments.changed(arguments.words(found[2]), change.arguments, quote=False)
        return found[1] + " ".join(words) if words != arguments.words(found[2]) else line
    return line


def _is_first(lines: Sequence[str]) -> bool:
    """Whether it is the file that the loader begins with, and not one that it includes."""
    return any(re.match(r"\s*(default|ui)\s", line, re.IGNORECASE) for line in lines)


def _set(lines: Sequence[str], name: str, value: str) -> list[str]:
    pattern = re.compile(rf"^(\s*){name}\s+.*$", re.IGNORECASE)
    if any(pattern.match(line) for line in lines):
        return [pattern.sub(lambda m: f"{m[1]}{name} {value}", line) for line in lines]
    return [f"{name} {value}", *lines]


def _with_default(lines: Sequence[str], wanted: str) -> list[str]:
    """The lines with another label as the default, unless that is a program which shows a menu."""
    labels = {
        name: label
        for number, (label, title) in enumerate(_labels(lines))
        for name in (str(number), title)
    }
    named = [found[1] for line in lines if (found := DEFAULT.match(line))]
    if wanted not in labels or any(name.lower().endswith(PROGRAMS) for name in named):
        return [*lines]
    return _set(lines, "default", labels[wanted])


def _marked(lines: Sequence[str], wanted: str) -> list[str]:
    """The lines with the entry of that title, or number, marked as the default of menu programs."""
    if (wanted.isdecimal() and not _is_first(lines)) or not any(map(TITLE.match, lines)):
        return [*lines]
    titles = [(str(number), title) for number, (_, title) in enumerate(_labels(lines))]
    begins = [begin for begin, _ in _blocks(lines)]
    marked = {begin for begin, names in zip(begins, titles, strict=True) if wanted in names}
    made: list[str] = []
    for index, line in enumerate(lines):
        made += [] if MARK.match(line) else [line]
        made += ["\tmenu default"] if index in marked else []
    return made


def _labels(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The label of each entry, and its title."""
    for begin, end in _blocks(lines):
        if found := LABEL.match(lines[begin]):
            yield found[1], _entry(lines[begin:end]).title

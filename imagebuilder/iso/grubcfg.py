"""GRUB's menus (GRUB manual 2.06, chapters 6 and 16)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imagebuilder.iso import arguments
from imagebuilder.iso.menu import Entry, MenuChange, plain

ENTRY = re.compile(r"^(\s*menuentry\s+)(\"[^\"]*\"|'[^']*'|\S+)")
KERNEL = re.compile(r"^(\s*)(linux|linuxefi|linux16)(\s+)(\S+)(.*?)(\s*\\?)$")
INITRD = re.compile(r"^\s*(initrd|initrdefi|initrd16)\s+(.*)$")
SETTING = r"^(\s*)(set\s+)?{name}\s*=.*$"


def entries(text: str) -> list[Entry]:
    """The entries of a menu, submenus included."""
    lines = text.splitlines()
    return [_entry(lines[begin:end]) for begin, end in _blocks(lines)]


def changed(text: str, change: MenuChange) -> str:
    """The menu after a change."""
    lines = list(_without(text.splitlines(), change))
    lines = [_renamed(line, change) for line in lines]
    if change.arguments:
        lines = [_kernel(line, change) for line in lines]
    if any(ENTRY.match(line) for line in text.splitlines()):
        if change.timeout is not None:
            lines = _set(lines, "timeout", str(change.timeout))
        if change.default:
            lines = _set(lines, "default", _default(change.default))
    return "\n".join(lines) + "\n" * text.endswith("\n")


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where each entry begins and ends: braces are counted outside quotes and comments."""
    begin, depth = -1, 0
    for index, line in enumerate(lines):
        if begin < 0 and ENTRY.match(line):
            begin, depth = index, 0
        if begin >= 0:
            bare = re.sub(r"\"(\\.|[^\"])*\"|'[^']*'|\$\{\w*\}|(^|\s)#.*$", "", line)
            depth += bare.count("{") - bare.count("}")
            if depth <= 0 and "}" in bare:
                yield begin, index + 1
                begin = -1


def _entry(block: Sequence[str]) -> Entry:
    first = ENTRY.match(block[0])
    title = first[2].strip("\"'") if first else ""
    kernels = [found for line in block if (found := KERNEL.match(line))]
    initrds = [path for line in block if (found := INITRD.match(line)) for path in found[2].split()]
    return Entry(
        title=title,
        kernel=plain(kernels[0][4]) if kernels else "",
        arguments=kernels[0][5].strip() if kernels else "",
        initrds=tuple(plain(path) for path in initrds),
    )


def _without(lines: Sequence[str], change: MenuChange) -> Iterator[str]:
    gone = {
        index
        for begin, end in _blocks(lines)
        if change.removes(_entry(lines[begin:end]).title)
        for index in range(begin, end)
    }
    return (line for index, line in enumerate(lines) if index not in gone)


def _renamed(line: str, change: MenuChange) -> str:
    found = ENTRY.match(line)
    if not found or not change.rename:
        return line
    title = found[2].strip("\"'")
    new = change.titled(title)
    return line if new == title else f"{found[1]}'{new}'{line[found.end() :]}"


def _kernel(line: str, change: MenuChange) -> str:
    found = KERNEL.match(line)
    if not found:
        return line
    words = arguments.changed(arguments.words(found[5]), change.arguments, quote=True)
    if words == arguments.words(found[5]):
        return line
    return " ".join((f"{found[1]}{found[2]}{found[3]}{found[4]}", *words)) + found[6]


def _set(lines: Sequence[str], name: str, value: str) -> list[str]:
    """Every setting of `name` changed, or one more before the first entry."""
    pattern = re.compile(SETTING.format(name=name))
    new = [pattern.sub(rf"\g<1>set {name}={value}", line) for line in lines]
    if any(pattern.match(line) for line in lines):
        return new
    first = next((index for index, line in enumerate(new) if ENTRY.match(line)), 0)
    return [*new[:first], f"set {name}={value}", *new[first:]]


def _default(value: str) -> str:
    return value if value.isdecimal() else f"'{value}'"

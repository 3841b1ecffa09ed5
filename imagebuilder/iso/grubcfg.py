"""GRUB's menus (GRUB manual 2.06, chapters 6 and 16)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from imagebuilder.iso import arguments
from imagebuilder.iso.menu import Entry, MenuChange, matches, plain

WORD = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\{])+"""
OPTIONS = rf"(?:--unrestricted\s+|--\w+(?:=|\s+){WORD}\s+)*"
ENTRY = re.compile(rf"^(\s*menuentry\s+{OPTIONS})({WORD})")
SUBMENU = re.compile(rf"^(\s*submenu\s+{OPTIONS})({WORD})")
KERNEL = re.compile(r"^(\s*)(linux|linuxefi|linux16)(\s+)(\S+)(.*?)(\s*\\?)$")
INITRD = re.compile(r"^\s*(initrd|initrdefi|initrd16)\s+(.*)$")
OPENS = re.compile(r"((^|[\s;])(then|else|do)|\{)\s*(#.*)?$")
CLOSES = re.compile(r"\s*((fi|else|elif|done)\b|\})")
NOTHING = "set nothing="
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


def submenus(text: str) -> list[str]:
    """The titles of all submenus."""
    return [title for title, _, _ in _submenus(text.splitlines())]


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where each entry begins and ends."""
    end = 0
    for index, line in enumerate(lines):
        if index >= end and ENTRY.match(line) and (found := _end(lines, index)):
            yield index, found
            end = found


def _submenus(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """The title of each submenu, and where it begins and ends."""
    for index, line in enumerate(lines):
        if (found := SUBMENU.match(line)) and (end := _end(lines, index)):
            yield _unquoted(found[2]), index, end


def _end(lines: Sequence[str], begin: int) -> int:
    """Behind which line a block ends, 0 for never: braces count outside quotes and comments."""
    depth = 0
    for index, line in enumerate(lines[begin:], begin):
        bare = re.sub(r"\"(\\.|[^\"])*\"|'[^']*'|\$\{\w*\}|(^|\s)#.*$", "", line)
        depth += bare.count("{") - bare.count("}")
        if depth <= 0 and "}" in bare:
            return index + 1
    return 0


def _entry(block: Sequence[str]) -> Entry:
    first = ENTRY.match(block[0])
    title = _unquoted(first[2]) if first else ""
    kernels = [found for line in block if (found := KERNEL.match(line))]
    initrds = [path for line in block if (found := INITRD.match(line)) for path in found[2].split()]
    return Entry(
        title=title,
        kernel=plain(kernels[0][4]) if kernels else "",
        arguments=kernels[0][5].strip() if kernels else "",
        initrds=tuple(plain(path) for path in initrds),
    )


def _without(lines: Sequence[str], change: MenuChange) -> Iterator[str]:
    """The lines without entries that go, and submenus of which nothing is left."""
    blocks = list(_blocks(lines))
    gone = [block for block in blocks if change.removes(_entry(lines[slice(*block)]).title)]
    for title, begin, end in _submenus(lines):
        inside = [block for block in blocks if begin <= block[0] < end]
        if matches(title, change.drop) or (inside and all(block in gone for block in inside)):
            gone.append((begin, end))
    left = [
        line
        for index, line in enumerate(lines)
        if not any(begin <= index < end for begin, end in gone)
    ]
    return _filled(left) if gone else iter(left)


def _filled(lines: Sequence[str]) -> Iterator[str]:
    """The lines with an assignment of no use in bodies without a command, which are errors."""
    is_open = False
    for line in lines:
        if is_open and CLOSES.match(line):
            yield NOTHING
        yield line
        if line.strip() and not line.lstrip().startswith("#"):
            is_open = bool(OPENS.search(line))


def _renamed(line: str, change: MenuChange) -> str:
    found = ENTRY.match(line) or SUBMENU.match(line)
    if not found or not change.rename:
        return line
    title = _unquoted(found[2])
    new = change.titled(title)
    return line if new == title else f"{found[1]}{_quoted(new)}{line[found.end() :]}"


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
    new = [pattern.sub(lambda m: f"{m[1]}set {name}={value}", line) for line in lines]
    if any(pattern.match(line) for line in lines):
        return new
    first = next((index for index, line in enumerate(new) if ENTRY.match(line)), 0)
    return [*new[:first], f"set {name}={value}", *new[first:]]


def _default(value: str) -> str:
    return value if value.isdecimal() else _quoted(value)


def _quoted(text: str) -> str:
    """A word of GRUB's shell; as in others, nothing is special between single quotes."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _unquoted(word: str) -> str:
    return "".join(shlex.split(word))

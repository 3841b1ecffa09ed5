"""The arguments of a kernel on a boot loader's line.

Installers (debian-installer, subiquity) copy what follows `---` to the installed system; what
stands before it is for the installer alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORD = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|\S)+""")
WHOLE = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'""")  # a word that is quoted already
MARKS = ("---", "--")
SPECIAL = re.compile(r"""[;&|<>$(){}"'\\\s]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentChange:
    """Arguments to add and to remove; `persist` adds them for the installed system too.

    What is removed is named in full, or by what stands before its `=`.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    persist: bool = False

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def words(text: str) -> list[str]:
    """The words of a line, quotes kept."""
    return WORD.findall(text)


def changed(given: Sequence[str], change: ArgumentChange, *, quote: bool) -> list[str]:
    """The arguments after a change; with `quote` as GRUB's shell reads them."""
    kept = [word for word in given if not _named(word, change.remove)]
    new = [_quoted(word) if quote else word for word in change.add]
    mark = next((index for index, word in enumerate(kept) if word in MARKS), None)
    if mark is None:
        missing = [word for word in new if word not in kept]
        return [*kept, "---", *missing] if change.persist and missing else [*kept, *missing]
    before, after = kept[:mark], kept[mark + 1 :]
    if change.persist:
        after += [word for word in new if word not in after]
    else:
        before += [word for word in new if word not in before]
    return [*before, kept[mark], *after]


def _named(word: str, names: Iterable[str]) -> bool:
    plain = word.strip("\"'")
    return word not in MARKS and any(plain == n or plain.startswith(f"{n}=") for n in names)


def _quoted(word: str) -> str:
    if WHOLE.fullmatch(word) or not SPECIAL.search(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""The kernel's arguments: what is told, what was asked for, with the names in braces replaced."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagebuilder.errors import ConfigError

BRACED = re.compile(r"\{([a-z]+)\}")
MACHINES = re.compile(r"\{(name|mac|ip)\}")  # left out where no machine is meant
LAST = "---"  # arguments behind it are for the installed system too
LONGEST = 2047  # Linux, COMMAND_LINE_SIZE of x86 without its last zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What can be written in braces; empty where there is no such thing."""

    name: str = ""
    mac: str = ""
    ip: str = ""
    server: str = ""
    http: str = ""
    iso: str = ""


def arguments(
    told: Sequence[str], asked: Sequence[str], console: str, names: Names, where: str
) -> tuple[str, ...]:
    """The whole command line; raise ConfigError for an unknown name, or if it is too long."""
    begin, end = [*told, *([f"console={console}"] if console else [])], list[str]()
    behind = False
    for word in asked:
        if word == LAST:
            behind = True
        elif names.name or not MACHINES.search(word):
            (end if behind else begin).append(_replaced(word, names, where))
    words = (*begin, *([LAST] if behind else []), *end)
    if len(" ".join(words)) > LONGEST:
        what = f"the arguments are longer than the {LONGEST} characters that Linux reads"
        raise ConfigError(what, where=where)
    return words


def _replaced(word: str, names: Names, where: str) -> str:
    known = dataclasses.asdict(names)

    def value(found: re.Match[str]) -> str:
        if not known.get(found[1]):
            there = ", ".join(name for name, text in known.items() if text) or "none"
            what = f"{found[0]} stands for nothing here, in {word!r}"
            raise ConfigError(what, where=where, hint=f"there is: {there}")
        return str(known[found[1]])

    return BRACED.sub(value, word)

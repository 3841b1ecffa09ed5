"""Everything that can go wrong on purpose; each kind has its own exit status."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence

FULL = (errno.ENOSPC, errno.EDQUOT)


class BuildError(Exception):
    """A failure we can explain: what happened, where, and what to do about it."""

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class ConfigError(BuildError):
    """An option, a variable or a document is wrong; nothing was built."""

    exit_status = 2


class ElementError(ConfigError):
    """An element is missing, contradicts another, or is malformed."""


class ToolMissingError(BuildError):
    """The host lacks a program, a kernel feature or a privilege."""

    exit_status = 3


class CommandError(BuildError):
    """A program that we ran failed."""

    exit_status = 4


class HookError(BuildError):
    """A hook failed; the build ends with the hook's own exit status."""

    def __init__(self, what: str, *, status: int, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_status = status


class SpaceError(BuildError):
    """Something is too small for what has to go into it."""

    exit_status = 5


class PublishError(BuildError):
    """A finished artefact could not be put where it was to go."""

    exit_status = 6


class OfflineError(BuildError):
    """Something is in no cache, and without network it cannot be had."""

    exit_status = 7


class Interrupted(BuildError):  # ruff: ignore[error-suffix-on-exception-name] - an event, not a mistake
    """A signal ended the build; the exit status is 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.exit_status = 128 + number


def together(found: Sequence[BuildError]) -> BuildError:
    """One error for all: alone as it is, several of a kind as one of that kind."""
    lines = list(dict.fromkeys(map(str, found)))
    if len(lines) == 1:
        return found[0]
    kinds = {type(error) for error in found}
    kind = kinds.pop() if len(kinds) == 1 else ConfigError
    return kind(f"{len(lines)} things are in the way:\n" + "\n".join(f"- {line}" for line in lines))


def nearest(name: str, names: Iterable[str], *, alike: float = 0.6) -> str:
    """A hint that names what the user may have meant, or nothing; `alike` is from 0 to 1."""
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=alike)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""

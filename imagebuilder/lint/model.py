"""What a linter finds, and the rules by which it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Severity(Enum):
    """An error breaks a build; a warning is something that does not do what it seems to."""

    ERROR = "error"
    WARNING = "warning"


RULES: Mapping[str, tuple[Severity, str]] = {
    "document": (Severity.ERROR, "a file that the builder reads is not what it has to be"),
    "dependency": (Severity.ERROR, "element-deps names what no element is or provides"),
    "shebang": (Severity.ERROR, "a hook does not say which program runs it"),
    "syntax": (Severity.ERROR, "bash cannot read a script"),
    "source": (Severity.ERROR, "a line of a source-repository file cannot be used"),
    "shellcheck": (Severity.WARNING, "shellcheck has found something; its number is in the text"),
    "duplicate-hook": (Severity.WARNING, "two elements that may be combined have the same hook"),
    "ignored-hook": (Severity.WARNING, "a file in a phase's directory never runs"),
    "unknown-name": (Severity.WARNING, "a file or directory is ignored, and its name is nearly one "
                     "that is not"),
    "consumer": (Severity.WARNING, "what uses a file is not among the element's dependencies"),
    "package": (Severity.WARNING, "an entry of package-installs does not do what it seems to"),
    "pkg-map": (Severity.WARNING, "a pkg-map, or an entry of it, maps nothing"),
    "variable": (Severity.WARNING, "a variable is read that neither element.yaml nor README has"),
    "set-e": (Severity.WARNING, "a hook in bash goes on after an error"),
    "environment": (Severity.WARNING, "a file of environment.d traces, or ends the shell that "
                    "sources it"),
    "readme": (Severity.WARNING, "an element has no README"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One mistake: which rule, where, what, and what to do about it."""

    where: str  # a path, with `:line` where there is one
    rule: str
    what: str
    hint: str = ""

    @property
    def severity(self) -> Severity:
        return RULES[self.rule][0]

    def __str__(self) -> str:
        advice = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.where}: {self.severity.value}: {self.what} [{self.rule}]{advice}"


@dataclass(frozen=True, slots=True)
class Script:
    """A text file of an element, and the program that its first line names, like `bash`."""

    path: Path
    lines: tuple[str, ...]
    interpreter: str = ""


def numbered(path: Path, number: int) -> str:
    """The place of a line."""
    return f"{path}:{number}"

"""The variables of a build: how the elements set them, and what they may be.

The files of `environment.d` are bash, so only bash can say what they set. What is decided here
is the program that bash runs, and what its answer means.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagebuilder import schema
from imagebuilder.element.model import Element, Variable
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.sizes import Size

ANSWER = 3  # the file descriptor that the prologue's answer is written to
SHELLS_OWN = ("_", "SHLVL", "PWD", "OLDPWD")
BOOLEANS = ("0", "1", "true", "false", "yes", "no")
SECRET_NAMES = re.compile(r"(?:\A|_)(?:PASSWORD|PASSWD|TOKEN|SECRET)\Z", re.IGNORECASE)
SECRET_OR_FILE_NAMES = re.compile(r"(?:\A|_)(?:KEY|CREDENTIALS)\Z", re.IGNORECASE)
SHORTEST_SECRET = 4
MISTYPED = 0.7  # less alike are other values, like two releases whose names rhyme

# For `bash -c`, with the prologue in pieces after $1: one word may have no more than 128 KiB.
LAUNCH = r"""IFS=; eval "set -- \"\$1\"; IFS=\$' \\t\\n'; ${*:2}" """
LONGEST = 1 << 15  # characters of a piece

PREAMBLE = """\
set +x
set -eu -o pipefail
"""
# A file that calls `exit 0` would otherwise end the build early, and as a success.
SOURCE = """\
trap 'status=$?; ((status)) || echo {label} calls exit, which ends the build >&2; \
echo {label} failed with status $status >&2; exit $((status ? status : 1))' EXIT
source {path}
{{ set +x; }} 2>/dev/null
"""
# Hooks start in the shell that has sourced the files, so what is no variable is theirs as well.
UMASK, DIRECTORY = "/umask", "/directory"  # no names that a variable can have
ANSWERING = f"""\
trap - EXIT
command -p env -0 "{UMASK}=$(umask)" "{DIRECTORY}=$PWD" >&{ANSWER}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What files of `environment.d` leave to hooks; `directory` is the one they start in."""

    variables: dict[str, str]
    umask: int = 0o022
    directory: str = ""


def prologue(directory: str, names: Sequence[str]) -> str:
    """A bash program that sources files and writes all exported variables, NUL after each.

    The umask and the directory follow under names of their own. They go to file descriptor 3.
    When a file fails the program says which, and exits with its status; a file that calls
    `exit 0` counts as failed, with status 1.
    """
    parts = [
        SOURCE.format(
            label=_in_trap(shlex.quote(f"environment.d/{name}")),
            path=shlex.quote(f"{directory}/{name}"),
        )
        for name in names
    ]
    return "".join((PREAMBLE, *parts, ANSWERING))


def pieces(program: str) -> tuple[str, ...]:
    """A program as words that `LAUNCH` puts together again."""
    return tuple(program[at : at + LONGEST] for at in range(0, len(program), LONGEST))


def parse(block: bytes) -> Settled:
    """The answer of a prologue, without the variables that bash itself sets."""
    pairs = (entry.decode(errors="surrogateescape").partition("=") for entry in block.split(b"\0"))
    found = {name: value for name, _, value in sorted(pairs) if name and name not in SHELLS_OWN}
    umask, directory = found.pop(UMASK, "022"), found.pop(DIRECTORY, "")
    return Settled(variables=found, umask=int(umask, 8), directory=directory)


def check(elements: Iterable[Element], environment: Mapping[str, str]) -> None:
    """Raise ConfigError unless every variable that is set is what the elements declare it to be.

    A variable with an empty value is not looked at: it counts as not set, or may be empty.
    """
    for element in elements:
        for variable in element.variables:
            value = environment.get(variable.name, "") or variable.default
            if value:
                _check_value(element, variable, value)


def check_required(elements: Iterable[Element], environment: Mapping[str, str]) -> None:
    """Raise ConfigError unless what elements need is set, by the caller or by `environment.d`."""
    for element in elements:
        for variable in element.variables:
            given = environment.get(variable.name, "") or variable.default
            if variable.required and not given:
                raise ConfigError(
                    f"{variable.name} is not set, and element {element.name!r} needs it",
                    where=_place(element, variable),
                    hint=variable.help,
                )


def violation(variable: Variable, value: str) -> str:
    """What `value` should be and is not, like `a size`; nothing if all is well."""
    match variable.type:
        case "choice":
            return "" if value in variable.choices else f"one of {', '.join(variable.choices)}"
        case "size":
            return "" if _is_size(value) else "a size like 512MiB or 2GiB"
        case "boolean":
            return "" if value.lower() in BOOLEANS else f"one of {', '.join(BOOLEANS)}"
        case _:
            pattern, wanted = PATTERNS.get(variable.type, (r"(?s:.*)", ""))
            return "" if re.fullmatch(pattern, value) else wanted


PATTERNS = {
    "integer": (r"[+-]?[0-9]+", "a whole number"),
    "path": (r"[^\n]*", "a path"),
    "url": (r"[A-Za-z][A-Za-z0-9+.-]*:\S+", "a URL like https://host/path"),
}


def defaults(elements: Iterable[Element]) -> dict[str, str]:
    """The values that elements declare for when nobody sets any; the last element's count."""
    return {
        variable.name: variable.default
        for element in elements
        for variable in element.variables
        if variable.default
    }


def secrets(elements: Iterable[Element], environment: Mapping[str, str]) -> frozenset[str]:
    """The values, and the lines of the values, that no log and no manifest may show.

    They are those of variables that are declared to be secret or that are named like one, unless
    they are declared not to be; a key or credentials may be given as an absolute path, which is
    no secret.
    """
    variables = [variable for element in elements for variable in element.variables]
    declared = {variable.name for variable in variables if variable.secret}
    plain = {variable.name for variable in variables if variable.secret is False} - declared
    values = {
        value
        for name, value in environment.items()
        if name in declared or (name not in plain and _sounds_secret(name, value))
    }
    lines = {line.strip() for value in values for line in value.splitlines()}
    return frozenset(text for text in values | lines if len(text) >= SHORTEST_SECRET)


def _sounds_secret(name: str, value: str) -> bool:
    if SECRET_NAMES.search(name):
        return True
    return bool(SECRET_OR_FILE_NAMES.search(name)) and not value.startswith("/")


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with `***` in the place of every secret."""
    longest_first = sorted(secrets, key=lambda secret: (-len(secret), secret))
    if not longest_first:
        return text
    return re.sub("|".join(re.escape(secret) for secret in longest_first), "***", text)


def _in_trap(quoted: str) -> str:
    """A word of shell for use inside single quotes."""
    return quoted.replace("'", "'\\''")


def _is_size(value: str) -> bool:
    try:
        Size.parse(value)
    except ConfigError:
        return False
    return True


def _check_value(element: Element, variable: Variable, value: str) -> None:
    wanted = violation(variable, value)
    if wanted:
        shown = "***" if variable.secret else repr(value)
        raise ConfigError(
            f"{variable.name}={shown} is not {wanted}",
            where=_place(element, variable),
            hint=nearest(value, variable.choices, alike=MISTYPED) or variable.help,
        )


def _place(element: Element, variable: Variable) -> str:
    path = element.path / "element.yaml"
    try:
        return schema.read(path).place(("variables", variable.name))
    except ConfigError:
        return str(path)

"""The scripts of an element, and mistakes in each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imagebuilder.element.merge import ENVIRONMENT, NOT_MERGED, PHASE_OF
from imagebuilder.element.model import Element
from imagebuilder.lint.model import Finding, Script, numbered
from imagebuilder.process import Command, Runner, find

SHEBANG = re.compile(r"#!\s*(\S+)(?:\s+(\S+))?")
SHELLS = ("bash", "sh")
STOPS_AT_ERRORS = re.compile(r"\s*set\s+(-\w*e|.*-o\s+errexit)")
SHELLCHECK = ("--format=json1", "--severity=warning", "--external-sources")
# It exits with 1 if it finds anything, and with more if it cannot work.
NO_MORE_THAN_1 = ("bash", "-c", '"$0" "$@"; [ $? -le 1 ]')
READABLE = 1 << 20  # bytes; what is larger is no script


def scripts(element: Element) -> tuple[Script, ...]:
    """The text files of an element, sorted; what is below `tests` is not the element's."""
    return tuple(
        script
        for script in scripts_in(element.path)
        if not {*script.path.relative_to(element.path).parts} & {*NOT_MERGED}
    )


def scripts_in(directory: Path) -> tuple[Script, ...]:
    """The text files below a directory, sorted."""
    paths = [p for p in sorted(directory.rglob("*")) if p.is_file() and not p.is_symlink()]
    return tuple(script for script in map(_read, paths) if script)


def in_phases(element: Element, found: Iterable[Script]) -> Iterator[Script]:
    """Those of the scripts that are hooks."""
    for script in found:
        parts = script.path.relative_to(element.path).parts
        if len(parts) == 2 and parts[0] in PHASE_OF and script.path.stat().st_mode & 0o111:
            yield script


def of_environment(element: Element, found: Iterable[Script]) -> tuple[Script, ...]:
    """Those of the scripts that are in `environment.d`."""
    return tuple(s for s in found if s.path.parent == element.path / ENVIRONMENT)


def check_hooks(element: Element, found: Sequence[Script]) -> Iterator[Finding]:
    """Hooks have to say what runs them, and those in bash should stop at errors."""
    for script in in_phases(element, found):
        first = script.lines[0] if script.lines else ""
        if not script.interpreter:
            yield Finding(
                where=numbered(script.path, 1),
                rule="shebang",
                what="a hook without '#!' cannot be started",
                hint="begin it with '#!/bin/bash'",
            )
        elif first.endswith("\r"):
            yield Finding(
                where=numbered(script.path, 1),
                rule="shebang",
                what=f"the lines end with a carriage return, and so {first!r} names no program",
                hint="sed -i 's/\\r$//' " + script.path.name,
            )
        elif script.interpreter in SHELLS and not _stops_at_errors(script):
            yield Finding(
                where=str(script.path),
                rule="set-e",
                what="goes on after a command that fails",
                hint="let 'set -eu -o pipefail' follow the first line",
            )


def check_environment(element: Element, found: Sequence[Script]) -> Iterator[Finding]:
    """Files of `environment.d` are sourced by every phase."""
    for script in of_environment(element, found):
        for number, line in enumerate(script.lines, 1):
            if re.match(r"\s*set\s+(-\w*x|-o\s+xtrace)", line):
                what, hint = "traces, and so shows passwords in the log", "leave it to -x"
            elif re.match(r"\s*exit\b(?!\s+[1-9$])", line):
                what, hint = "ends the shell of all files, which fails the build", "use 'return'"
            else:
                continue
            yield Finding(
                where=numbered(script.path, number), rule="environment", what=what, hint=hint
            )


def check_syntax(found: Sequence[Script], run: Runner) -> Iterator[Finding]:
    """What bash, and shellcheck if it is installed, say of all scripts of shells."""
    shells = [script for script in found if script.interpreter in SHELLS]
    broken = [finding for script in shells for finding in _bash(script, run)]
    yield from broken
    program = find("shellcheck")
    if program is not None and shells:
        unreadable = {finding.where.rpartition(":")[0] for finding in broken}
        whole = [str(s.path) for s in shells if str(s.path) not in unreadable]
        yield from _shellcheck(program, whole, run) if whole else ()


def _read(path: Path) -> Script | None:
    if path.stat().st_size > READABLE:
        return None
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    lines = tuple(text.split("\n"))
    match = SHEBANG.match(lines[0])
    words = [Path(word).name for word in match.groups() if word] if match else []
    named = words[1] if words[:1] == ["env"] and len(words) > 1 else "".join(words[:1])
    return Script(path, lines, named)


def _stops_at_errors(script: Script) -> bool:
    return any(STOPS_AT_ERRORS.match(line) for line in script.lines) or " -e" in script.lines[0]


def _bash(script: Script, run: Runner) -> Iterator[Finding]:
    command = Command(("bash", "-c", 'bash -n "$0" 2>&1 || true', str(script.path)))
    match = re.search(r": line (\d+): (.*)", run(command).output)
    if match:
        yield Finding(
            where=numbered(script.path, int(match[1])),
            rule="syntax",
            what=f"bash says: {match[2]}",
            hint="look above that line too: it is where bash gave up",
        )


def _shellcheck(program: str, paths: Sequence[str], run: Runner) -> Iterator[Finding]:
    command = Command((*NO_MORE_THAN_1, program, *SHELLCHECK, *paths))
    answer = json.loads(run(command).output or '{"comments": []}')
    for comment in answer["comments"]:
        yield Finding(
            where=f"{comment['file']}:{comment['line']}",
            rule="shellcheck",
            what=f"SC{comment['code']}: {comment['message']}",
            hint=f"https://www.shellcheck.net/wiki/SC{comment['code']}",
        )

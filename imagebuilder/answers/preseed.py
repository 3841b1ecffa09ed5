"""Preseed files: answers to the questions of debian-installer and of packages.

The format is that of debconf-set-selections(1): owner, question, type, answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from imagebuilder.answers.model import Answers, Place, Placement
from imagebuilder.errors import CommandError, ConfigError, nearest
from imagebuilder.process import Command, Runner, find

PROGRAM = "debconf-set-selections"
NAME = "preseed.cfg"
TYPES = frozenset({
    "boolean", "error", "multiselect", "note", "password", "select", "string", "text", "title",
    "seen",
})  # fmt: skip
QUESTION = re.compile(r"[^\s/]+(/[^\s/]+)+")
QUIET = "priority=critical"


def check(text: str, where: str, run: Runner) -> tuple[str, ...]:
    """Raise ConfigError for a line that debconf would not take, or a question answered twice."""
    seen: dict[tuple[str, str], int] = {}
    for number, line in _lines(text):
        place = f"{where}:{number}"
        owner, question, kind, answer = _fields(line, place)
        if kind == "boolean" and answer not in {"true", "false"}:
            raise ConfigError(f"{question} is true or false, not {answer!r}", where=place)
        if kind != "seen" and (first := seen.setdefault((owner, question), number)) != number:
            what = f"{question} is answered in line {first} already"
            raise ConfigError(what, where=place, hint="the last answer would win: remove one")
    if not seen:
        raise ConfigError("answers no question", where=where)
    if find(PROGRAM):
        _check_by_debconf(text, where, run)
    return ()


def placement(answers: Answers, place: Place, base: str) -> Placement:
    """Where preseed files go; `base` is the URL of their directory."""
    arguments = {
        Place.INITRD: (QUIET,),  # debian-installer looks for /preseed.cfg by itself
        Place.MEDIUM: ("auto=true", QUIET, f"preseed/file=/cdrom/{NAME}"),
        Place.NETWORK: ("auto=true", QUIET, f"preseed/url={base}/{NAME}"),
    }
    return Placement(place=place, files=((NAME, answers.content),), arguments=arguments[place])


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with those that go on joined, and their numbers."""
    begin, whole = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        begin = begin if whole else number
        whole += line
        if whole.endswith("\\") and not whole.lstrip().startswith("#"):
            whole = whole[:-1]
            continue
        if whole.strip() and not whole.lstrip().startswith("#"):
            yield begin, whole.strip()
        whole = ""
    if whole.strip():
        yield begin, whole.strip()


def _fields(line: str, where: str) -> tuple[str, str, str, str]:
    owner, question, kind, answer = [*line.split(None, 3), "", "", "", ""][:4]
    if not kind:
        hint = "write owner, question, type and answer"
        raise ConfigError(f"not an answer: {line!r}", where=where, hint=hint)
    if not QUESTION.fullmatch(question):
        hint = "questions are written like netcfg/get_hostname"
        raise ConfigError(f"not a question: {question!r}", where=where, hint=hint)
    if kind not in TYPES:
        hint = nearest(kind, TYPES) or f"there are: {', '.join(sorted(TYPES))}"
        raise ConfigError(f"no such type: {kind!r}", where=where, hint=hint)
    return owner, question, kind, answer.rstrip()


def _check_by_debconf(text: str, where: str, run: Runner) -> None:
    try:
        run(Command((PROGRAM, "-c"), stdin=text.encode()))
    except CommandError as error:
        said = error.what.partition("\n")[2].strip() or error.what
        raise ConfigError(f"debconf does not take it: {said}", where=where) from error

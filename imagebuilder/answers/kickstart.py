"""Kickstart files: answers and scripts for Anaconda, checked by pykickstart where it is there."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagebuilder import given
from imagebuilder.answers.model import Answers, Place, Placement, Scripts
from imagebuilder.errors import ConfigError
from imagebuilder.process import Runner

NAME = "ks.cfg"
SECTIONS = (
    "%pre", "%pre-install", "%post", "%packages", "%onerror", "%traceback", "%addon",
    "%certificate", "%anaconda",
)  # fmt: skip
END = "%end"
INCLUDES = ("%include", "%ksappend")
SHEBANG = re.compile(r"#!\s*(\S+)")
VERSION = re.compile(r"^#version=(\S+)", re.MULTILINE)
MODULES = ("errors", "parser", "version")
UNCHECKED = "was not checked by pykickstart, which is not installed"


def check(text: str, where: str, run: Runner) -> tuple[str, ...]:
    """Raise ConfigError for sections without an end and for what pykickstart does not know.

    Say so if pykickstart is not there.
    """
    del run
    _check_sections(text, where)
    try:
        errors, parser, version = (importlib.import_module(f"pykickstart.{m}") for m in MODULES)
    except ImportError:
        return (UNCHECKED,)
    try:
        handler = version.makeVersion(_version(text) or version.DEVEL)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reader = parser.KickstartParser(handler, missingIncludeIsFatal=False)
            reader.readKickstartFromString(text)
    except errors.KickstartError as error:
        line = f"{where}:{error.lineno}" if getattr(error, "lineno", 0) else where
        said = str(getattr(error, "message", "") or error)
        raise ConfigError(" ".join(said.split()), where=line) from error
    return tuple(" ".join(str(each.message).split()) for each in caught)


def merged(text: str, scripts: Scripts) -> str:
    """The text with a section for each script; raise ConfigError for one that cannot be one."""
    sections = [
        *_sections("%pre", scripts.pre, "--log=/tmp/{name}.log"),
        *_sections("%post", scripts.post, "--log=/root/{name}.log"),
    ]
    return "\n".join((text.rstrip("\n"), *sections, ""))


def placement(answers: Answers, place: Place, base: str) -> Placement:
    """Where kickstart files go; `base` is the URL of their directory, or the medium's label."""
    medium = f"hd:LABEL={base}:/{NAME}" if base else f"cdrom:/{NAME}"
    source = {
        Place.INITRD: f"file:/{NAME}",
        Place.MEDIUM: medium.replace(" ", r"\x20"),
        Place.NETWORK: f"{base}/{NAME}",
    }[place]
    return Placement(
        place=place, files=((NAME, answers.content),), arguments=(f"inst.ks={source}",)
    )


def _sections(kind: str, scripts: Sequence[Path], log: str) -> Iterator[str]:
    for path in scripts:
        text = _script(path)
        first, _, rest = text.partition("\n")
        interpreter = SHEBANG.match(first)
        options = [f"--interpreter={interpreter[1]}"] if interpreter else []
        options += ["--erroronfail", log.format(name=path.stem)]
        body = rest if interpreter else text
        yield f"\n{kind} {' '.join(options)}\n{body.rstrip()}\n{END}"


def _script(path: Path) -> str:
    try:
        text = given.read_text(path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(path)) from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.split()[:1] == [END]:
            what = f"has a line {END}, which would end its section"
            raise ConfigError(what, where=f"{path}:{number}")
    if not text.strip():
        raise ConfigError("is empty", where=str(path))
    return text


def _check_sections(text: str, where: str) -> None:
    opened = ("", 0)
    for number, line in enumerate(text.splitlines(), 1):
        word = line.split()[0] if line.startswith("%") else ""
        place = f"{where}:{number}"
        if word == END:
            if not opened[0]:
                raise ConfigError(f"{END} ends nothing", where=place)
            opened = ("", 0)
        elif word and word in SECTIONS:
            if opened[0]:
                what = f"{word} begins inside {opened[0]} of line {opened[1]}"
                raise ConfigError(what, where=place, hint=f"end that with {END}")
            opened = (word, number)
        elif word and not opened[0] and word not in INCLUDES:
            raise ConfigError(f"no such section: {word}", where=place)
    if opened[0]:
        what = f"{opened[0]} has no {END}"
        raise ConfigError(what, where=f"{where}:{opened[1]}")


def _version(text: str) -> str:
    """The version of the syntax that the file itself names, as Anaconda writes it."""
    found = VERSION.search(text)
    return found[1] if found else ""

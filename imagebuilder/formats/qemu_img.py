"""What qemu-img can write, and with which options, found out by trying it.

`--qemu-img-options` is one text for all outputs of a build. Here every format gets those of the
options that it takes: `compat=0.10` is qcow2's, and nothing that vmdk should hear of. A name and
a colon before an option (`vmdk:subformat=streamOptimized`) say whose it is. An option that no
output takes is an error, and so are options that do not go together, before a build begins.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from imagebuilder.errors import CommandError, ConfigError
from imagebuilder.process import Command, find, run

FLAG = "--qemu-img-options"
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
OF_ONE = re.compile(rf"({NAME.pattern}):(.+)")
TRIED = "8M"  # the size of disks that are made to see whether qemu-img would


def scoped(
    text: str, formats: Mapping[str, tuple[str, tuple[str, ...]]]
) -> Mapping[str, tuple[str, ...]]:
    """The options in `text` for each of the outputs' formats; raise ConfigError.

    `formats` are qemu-img's name of each format, and the options that it always gets.
    """
    given = [option for option in text.split(",") if option]
    if not given or not formats or find("qemu-img") is None:
        return dict.fromkeys(formats, ())
    takers = {option: _takers(option, formats) for option in given}
    chosen = {
        name: tuple(_key(option) for option in given if name in takers[option]) for name in formats
    }
    for name, (driver, own) in formats.items():
        refusal = refused(driver, combined(own, chosen[name])) if chosen[name] else ""
        if refusal:
            raise ConfigError(f"{name} cannot have {text!r}: {refusal}", where=FLAG)
    return chosen


def combined(own: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    """Options, of which those that are given win."""
    pairs = (option.partition("=") for option in (*own, *given))
    merged = {key: (key, sign, value) for key, sign, value in pairs}
    return tuple("".join(parts) for parts in merged.values())


@cache
def refused(driver: str, options: tuple[str, ...]) -> str:
    """Why qemu-img cannot make such an image, in its own words; nothing if it can."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "disk")
        try:
            run(create(driver, options, target))
        except CommandError as error:
            return _reason(error)
        if len([*Path(directory).iterdir()]) > 1:
            return "such an image is in more than one file"
    return ""


def create(driver: str, options: Sequence[str], target: Path) -> Command:
    """The command that makes an empty image."""
    return Command((
        "qemu-img", "create", "-q",
        "-f", driver,
        *_as_flag(options),
        os.fspath(target),
        TRIED,
    ))  # fmt: skip


def convert(source: Path, target: Path, driver: str, options: Sequence[str]) -> Command:
    """The command that writes the raw disk `source` to `target`."""
    return Command((
        "qemu-img", "convert",
        "-f", "raw",
        "-O", driver,
        *_as_flag(options),
        os.fspath(source.absolute()),
        os.fspath(target),
    ))  # fmt: skip


def _takers(option: str, formats: Mapping[str, tuple[str, tuple[str, ...]]]) -> frozenset[str]:
    """The formats that an option is for."""
    named = OF_ONE.fullmatch(option)
    if named and named[1] not in formats:
        known = ", ".join(formats)
        raise ConfigError(f"{option!r} is for none of the outputs ({known})", where=FLAG)
    candidates = {named[1]: formats[named[1]]} if named else formats
    reasons = {
        name: refused(driver, combined(own, (_key(option),)))
        for name, (driver, own) in candidates.items()
    }
    if all(reasons.values()):
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ConfigError(f"{option!r} is refused by qemu-img ({told})", where=FLAG)
    return frozenset(name for name, reason in reasons.items() if not reason)


def _key(option: str) -> str:
    named = OF_ONE.fullmatch(option)
    return named[2] if named else option


def _as_flag(options: Sequence[str]) -> tuple[str, ...]:
    return ("-o", ",".join(options)) if options else ()


def _reason(error: CommandError) -> str:
    """What qemu-img says, without its own name and that of the file."""
    said = error.what.splitlines()[1:] or [error.what]
    return re.sub(r"^qemu-img: (/\S+: )?", "", said[0]).rstrip(".")

"""Answers read from a file: which kind they are, and whether the installer would take them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from imagebuilder import given, process
from imagebuilder.answers import autoinstall, kickstart, preseed, proxmox
from imagebuilder.answers.model import Answers, Kind, Scripts
from imagebuilder.errors import ConfigError
from imagebuilder.process import Runner

CHECKS: Mapping[Kind, Callable[[str, str, Runner], tuple[str, ...]]] = {
    Kind.PRESEED: preseed.check,
    Kind.KICKSTART: kickstart.check,
    Kind.AUTOINSTALL: autoinstall.check,
    Kind.PROXMOX: proxmox.check,
}
KINDS = ", ".join(kind.value for kind in Kind)
CLOUD_CONFIG = re.compile(r"#cloud-config\b|autoinstall:|version:", re.MULTILINE)
SECTION = re.compile(r"^\[+(global|network|disk-setup)\]+\s*$", re.MULTILINE)
DIRECTIVE = re.compile(r"^d-i\s+\S+/\S+\s", re.MULTILINE)
COMMAND = re.compile(
    r"^(%packages|%post|%pre|rootpw|autopart|clearpart|bootloader)\b", re.MULTILINE
)


def load(
    path: Path, kind: str = "", scripts: Scripts | None = None, run: Runner = process.run
) -> Answers:
    """Read and check answers; without `kind` they are what they look like.

    `scripts` become sections of a kickstart file. Raise ConfigError, with the line where there is
    one, for what the installer would not take or another kind.
    """
    text = _text(path)
    found = _named(kind, path) if kind else detect(text, path)
    if scripts and (scripts.pre or scripts.post):
        if found is not Kind.KICKSTART:
            what = f"scripts can be merged into kickstart files, this is {found.value}"
            raise ConfigError(what, where=str(path))
        text = kickstart.merged(text, scripts)
    remarks = CHECKS[found](text, str(path), run)
    content = autoinstall.wrapped(text) if found is Kind.AUTOINSTALL else text
    return Answers(kind=found, where=str(path), content=content.encode(), remarks=remarks)


def detect(text: str, path: Path) -> Kind:
    """What answers look like, by name and content; raise ConfigError if like nothing known."""
    by_name = {".ks": Kind.KICKSTART, ".toml": Kind.PROXMOX, ".seed": Kind.PRESEED}
    if path.suffix in by_name:
        return by_name[path.suffix]
    if SECTION.search(text):
        return Kind.PROXMOX
    if DIRECTIVE.search(text) or path.name.startswith("preseed"):
        return Kind.PRESEED
    if COMMAND.search(text) or path.name.startswith("ks"):
        return Kind.KICKSTART
    if CLOUD_CONFIG.match(text) or path.suffix in {".yaml", ".yml"} or path.name == "user-data":
        return Kind.AUTOINSTALL
    hint = "names like preseed.cfg, ks.cfg, user-data and answer.toml say which it is"
    raise ConfigError("is of no known kind", where=str(path), hint=hint)


def _named(kind: str, path: Path) -> Kind:
    try:
        return Kind(kind)
    except ValueError as error:
        what = f"no such kind of answers: {kind!r}"
        raise ConfigError(what, where=str(path), hint=f"there are: {KINDS}") from error


def _text(path: Path) -> str:
    try:
        text = given.read_text(path)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or ""
        raise ConfigError(what, where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", where=str(path)) from error
    if not text.strip():
        raise ConfigError("is empty", where=str(path))
    return text

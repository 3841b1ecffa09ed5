"""Which operating system a tree has, by its os-release(5), in diskimage-builder's words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from imagebuilder import paths

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
NAMES = {"opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse", "openEuler": "openeuler"}


def load(tree: Path) -> Mapping[str, str]:
    """DISTRO_NAME and DIB_RELEASE, as far as the tree says."""
    for name in OS_RELEASE:
        with suppress(OSError):
            return variables(paths.read_in(tree, name).decode(errors="replace"))
    return {}


def variables(text: str) -> Mapping[str, str]:
    """The same by the content of os-release."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        with suppress(ValueError):  # quotes that do not match
            fields[key.strip()] = " ".join(shlex.split(value)) if mark else ""
    name = fields.get("ID", "")
    found = {
        "DISTRO_NAME": NAMES.get(name, name),
        "DIB_RELEASE": fields.get("VERSION_CODENAME") or fields.get("VERSION_ID", ""),
    }
    return {key: value for key, value in found.items() if value}

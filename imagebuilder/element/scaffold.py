"""The files of a new element, to begin with."""

from __future__ import annotations

from collections.abc import Mapping

from imagebuilder.element.load import check_name

HOOK = """\
#!/bin/bash
# Runs inside the image, as root, after the packages of package-installs.yaml are there.
if [ "${{DIB_DEBUG_TRACE:-0}}" -gt 0 ]; then
    set -x
fi
set -eu
set -o pipefail

echo "${{{variable}:-hello}}" > /etc/{name}
"""
README = """\
{line}
{name}
{line}

What the element does, and for whom.

Variables
---------

{variable}
  What is written to /etc/{name}.
"""
ABOUT = """\
summary: What the element is for, in one line.
variables:
  {variable}:
    type: string
    default: hello
    help: What is written to /etc/{name}.
"""
PACKAGES = """\
# Names of packages, with conditions: see the page about package-installs.yaml.
ca-certificates:
"""
DEPENDENCIES = "package-installs\n"


def files(name: str) -> Mapping[str, str]:
    """The path of every file, relative to the element, and its text; raise ElementError."""
    check_name(name, where="the new element")
    variable = "DIB_" + "".join(c if c.isalnum() else "_" for c in name.upper())
    texts = {
        "README.rst": README,
        "element-deps": DEPENDENCIES,
        "element.yaml": ABOUT,
        f"install.d/50-{_hook_name(name)}": HOOK,
        "package-installs.yaml": PACKAGES,
    }
    words = {"name": name, "variable": variable, "line": "=" * len(name)}
    return {path: text.format(**words) for path, text in texts.items()}


def is_program(path: str) -> bool:
    """Whether the file at this path is to be executable."""
    return path.startswith("install.d/")


def _hook_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)

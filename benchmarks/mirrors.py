"""Where the packages come from: as the environment says, else as on the host itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ARCHIVE, SECURITY = "DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_SECURITY_MIRROR"
FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


class NoMirrorError(Exception):
    """It is not known where to take packages from."""


def mirrors() -> dict[str, str]:
    """The two variables with which both builders are told; raise NoMirrorError."""
    known = {name: os.environ[name] for name in (ARCHIVE, SECURITY) if os.environ.get(name)}
    known = _of_host() | known
    missing = [name for name in (ARCHIVE, SECURITY) if name not in known]
    if missing:
        raise NoMirrorError(f"set {' and '.join(missing)}: this host's apt does not say")
    return known


def _of_host() -> dict[str, str]:
    """A Debian host's mirrors. The archive is where there are `-updates`, which others lack."""
    if "\nID=debian\n" not in f"\n{Path('/etc/os-release').read_text()}\n":
        return {}
    argv = ["apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        uri, suite, component = line.split()
        if component == "main" and suite.endswith("-updates"):
            found.setdefault(ARCHIVE, uri.rstrip("/"))
        if component == "main" and suite.endswith("-security"):
            found.setdefault(SECURITY, uri.rstrip("/"))
    return found

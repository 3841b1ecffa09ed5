"""Builds of elements over a tiny root, with stand-ins for the programs that they call."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Workshop

STAND_IN = "#!/bin/bash\nprintf '%s\\n' \"${0##*/} $*\" >>/called\n"


class Image:
    """The archive that a build has made, and its log."""

    def __init__(self, path: Path, log: str) -> None:
        self.log = log
        with tarfile.open(path) as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            self.texts = {
                member.name.removeprefix("./"): file.read().decode(errors="replace")
                for member in files
                if member.size < 50000 and (file := tar.extractfile(member))
            }

    @property
    def called(self) -> list[str]:
        """What the stand-ins were called with."""
        return self.texts.get("called", "").splitlines()


def stand_ins(workshop: Workshop, *programs: str, own: str = "") -> None:
    """An element that puts programs into the root that only note how they are called."""
    text = "\n".join(
        f"cat >$TARGET_ROOT/usr/bin/{program} <<'END'\n{STAND_IN}END\n"
        f"chmod +x $TARGET_ROOT/usr/bin/{program}"
        for program in programs
    )
    workshop.element("stand-ins", {
        "bin/install-packages": STAND_IN, "root.d/50-stand-ins": f"{text}\n{own}",
    })  # fmt: skip


def build(workshop: Workshop, *words: str, **variables: str) -> Image:
    """The image of a build that has to succeed."""
    variables = {"OVERWRITE_OLD_IMAGE": "1", **variables}
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "stand-ins", *words, **variables)
    assert done.returncode == 0, done.stdout
    return Image(workshop.directory / "out.tar", done.stdout)


def refused(workshop: Workshop, *words: str, **variables: str) -> str:
    """How a build ends that has to fail: the log from the error on."""
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "stand-ins", *words, **variables)
    assert done.returncode != 0
    return done.stdout.rsplit("error: ", 1)[-1]

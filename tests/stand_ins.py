"""Builds of elements over a tiny root, with stand-ins for the programs that they call."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Workshop

INSTALLER = '#!/bin/bash\nprintf "%s\\n" "$*" >>/installed\n'
STAND_IN = "#!/bin/bash\nprintf '%s\\n' \"${0##*/} $*\" >>/called\n"
KERNELS = """\
touch $TARGET_ROOT/etc/debian_version
for version in 6.1.0-9-test 6.1.0-10-test; do
    for name in vmlinuz initrd.img System.map config; do
        echo $name $version >$TARGET_ROOT/boot/$name-$version
    done
done
"""


class Image:
    """The archive that a build has made, and its log."""

    def __init__(self, path: Path, log: str) -> None:
        self.log = log
        with tarfile.open(path) as tar:
            self.members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
            self.texts = {
                name: file.read().decode(errors="replace")
                for name, member in self.members.items()
                if member.isfile() and member.size < 50000 and (file := tar.extractfile(member))
            }

    def mode(self, name: str) -> int:
        return self.members[name].mode

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
    """The image of a build with the stand-ins, which has to succeed."""
    return _built(workshop, "stand-ins", *words, **variables)


def refused(workshop: Workshop, *words: str, **variables: str) -> str:
    """How a build with the stand-ins ends that has to fail: the log from the error on."""
    return _failed(workshop, "stand-ins", *words, **variables)


def packaged(workshop: Workshop, *words: str, **variables: str) -> Image:
    """The image of a build; `install-packages` notes its words in the file /installed."""
    workshop.element("packages", {"bin/install-packages": INSTALLER})
    return _built(workshop, "packages", *words, **variables)


def refused_packaged(workshop: Workshop, *words: str, **variables: str) -> str:
    """How such a build ends that has to fail: the log from the error on."""
    workshop.element("packages", {"bin/install-packages": INSTALLER})
    return _failed(workshop, "packages", *words, **variables)


def _built(workshop: Workshop, *words: str, **variables: str) -> Image:
    variables = {"OVERWRITE_OLD_IMAGE": "1", **variables}
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", *words, **variables)
    assert done.returncode == 0, done.stdout
    return Image(workshop.directory / "out.tar", done.stdout)


def _failed(workshop: Workshop, *words: str, **variables: str) -> str:
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", *words, **variables)
    assert done.returncode != 0
    return done.stdout.rsplit("error: ", 1)[-1]

"""Files more for an initrd that is served as it is: a second archive, which loaders put behind it.

So that one initrd does for all machines. It is placed by what the first ones hold, as the kernel
unpacks all into one tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagebuilder.initrd import newc, source
from imagebuilder.initrd.additions import overlay, placed
from imagebuilder.initrd.model import Entry
from imagebuilder.initrd.rootfs import Rootfs
from imagebuilder.initrd.source import Wish

NAME = "files.cpio"


def make(
    root: Rootfs,
    wishes: Sequence[Wish],
    contents: Sequence[tuple[str, bytes]],
    epoch: int,
) -> bytes:
    """An archive of files of the host and of contents; raise ConfigError if they do not fit.

    `root` is what the initrds before it hold.
    """
    wanted = [entry for wish in wishes for entry in source.load(wish, root, epoch)]
    wanted += [
        Entry(name=name, mode=0o100644, mtime=epoch, content=content) for name, content in contents
    ]
    return newc.write(overlay(root, placed(root, wanted, "initrd")))

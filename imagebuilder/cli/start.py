"""Where the installed programs start; kept light, so that `--version` is quick."""

from __future__ import annotations

import sys


def disk_image_create() -> None:
    """The program `disk-image-create`."""
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.create import main

    sys.exit(main(sys.argv[1:]))


def ramdisk_image_create() -> None:
    """The program `ramdisk-image-create`."""
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.create import RAMDISK_PROGRAM, main

    sys.exit(main(sys.argv[1:], RAMDISK_PROGRAM))


def imagebuilder() -> None:
    """The program `imagebuilder`."""
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.verbs import main

    sys.exit(main(sys.argv[1:]))


def diskimage_builder() -> None:
    """The program `diskimage-builder`."""
    from imagebuilder.cli.images import main

    sys.exit(main(sys.argv[1:]))


def dib_block_device() -> None:
    """The program `dib-block-device`."""
    from imagebuilder.cli.block_device import main

    sys.exit(main(sys.argv[1:]))


def dib_lint() -> None:
    """The program `dib-lint`."""
    from imagebuilder.cli.dib_lint import main

    sys.exit(main(sys.argv[1:]))


def _version() -> None:
    from imagebuilder import __version__

    print(__version__)
    sys.exit(0)

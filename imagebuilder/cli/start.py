"""Where the installed programs start; kept light, so that `--version` is quick."""

from __future__ import annotations

import os
import sys

# What makes a bash another one than hooks are written for, bash(1); functions are variables too.
OF_A_SHELL = ("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "POSIXLY_CORRECT")
FUNCTION = "BASH_FUNC_"


def _begin() -> None:
    """Leave behind what the caller's locale and shell would change.

    Names of files are bytes, and UTF-8 if anything: where the locale says otherwise, Python starts
    again in its UTF-8 mode.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        # ruff: ignore[start-process-with-no-shell] - the same program again
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for name in [*os.environ]:
        if name in OF_A_SHELL or name.startswith(FUNCTION):
            del os.environ[name]


def disk_image_create() -> None:
    """The program `disk-image-create`."""
    _begin()
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.create import main

    sys.exit(main(sys.argv[1:]))


def ramdisk_image_create() -> None:
    """The program `ramdisk-image-create`."""
    _begin()
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.create import RAMDISK_PROGRAM, main

    sys.exit(main(sys.argv[1:], RAMDISK_PROGRAM))


def imagebuilder() -> None:
    """The program `imagebuilder`."""
    _begin()
    if sys.argv[1:] == ["--version"]:
        _version()
    from imagebuilder.cli.verbs import main

    sys.exit(main(sys.argv[1:]))


def diskimage_builder() -> None:
    """The program `diskimage-builder`."""
    _begin()
    from imagebuilder.cli.images import main

    sys.exit(main(sys.argv[1:]))


def dib_block_device() -> None:
    """The program `dib-block-device`."""
    _begin()
    from imagebuilder.cli.block_device import main

    sys.exit(main(sys.argv[1:]))


def dib_lint() -> None:
    """The program `dib-lint`."""
    _begin()
    from imagebuilder.cli.dib_lint import main

    sys.exit(main(sys.argv[1:]))


def _version() -> None:
    from imagebuilder import __version__
    from imagebuilder.cli.guard import guarded

    def show() -> int:
        print(__version__)
        return 0

    sys.exit(guarded(show))

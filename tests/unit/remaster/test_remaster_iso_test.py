"""How far an ISO image has come is read from its console."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from imagebuilder.cli import iso_test as verb
from imagebuilder.errors import ConfigError
from imagebuilder.machine.model import Firmware, Medium
from imagebuilder.remaster.iso_test import MODES, Level, Trial


def trial(*words: str) -> Trial:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.trial(parser.parse_args(words))


def seen(level: Level, line: str) -> bool:
    (pattern,) = Trial(level=level).expected()
    return bool(pattern.search(line))


@pytest.mark.parametrize(
    "line",
    [
        "GNU GRUB  version 2.06-13",
        "ISOLINUX 6.04 20200816",
        "iPXE 1.21.1",
        "Loading Memtest86+",
    ],
)
def test_a_loader_shows_its_menu(line: str) -> None:
    assert seen(Level.MENU, line)
    assert not seen(Level.KERNEL, line)


@pytest.mark.parametrize(
    "line",
    [
        "[    2.1] Run /init as init process",
        "Loading, please wait...",
        "Begin: Running /scripts/init-top ... done.",
        "Welcome to Debian GNU/Linux 12 (bookworm)!",
        "Starting system log daemon: syslogd, klogd.",
    ],
)
def test_the_first_program_of_an_initrd_is_seen(line: str) -> None:
    assert seen(Level.KERNEL, line)
    assert not seen(Level.MENU, line)


@pytest.mark.parametrize("line", ["Welcome to GRUB!", "[    0.000000] Linux version 6.1.0"])
def test_what_comes_before_it_is_not_it(line: str) -> None:
    assert not seen(Level.KERNEL, line)


def test_all_modes_are_tried_unless_some_are_named(tmp_path: Path) -> None:
    assert trial().modes == tuple(MODES)
    words = ("--mode", "sb-disk", "--expect", "a", "--expect", "b")
    some = trial(*words, "--keep", str(tmp_path / "k"))
    assert (some.modes, some.level, some.markers) == (("sb-disk",), Level.MARKER, ("a", "b"))
    assert MODES["sb-disk"] == (Firmware.SECURE_BOOT, Medium.USB)
    assert (tmp_path / "k").is_dir()


def test_a_marker_has_to_be_said_and_be_an_expression() -> None:
    with pytest.raises(ConfigError, match="a marker has to be said"):
        trial("--level", "marker")
    with pytest.raises(ConfigError, match="not a regular expression"):
        trial("--expect", "(").expected()

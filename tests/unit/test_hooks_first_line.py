"""What is said of a hook whose first line names what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder.hooks import first_line


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"#!/bin/sh\r\ntrue\r\n", 127, "Windows"),
        (b"#!/usr/bin/python\ntrue\n", 127, "names /usr/bin/python, which is not there"),
        (b"#! /usr/bin/perl -w\n", 126, "names /usr/bin/perl, which is not there"),
        (b"#!/bin/sh\nno-such-program\n", 127, ""),
        (b"#!/bin/sh\r\nexit 3\r\n", 3, ""),
        (b"#!\n", 126, ""),
        (b"no-such-program\n", 127, ""),
    ],
)
def test_a_hook_that_could_not_be_started_is_explained(
    tmp_path: Path, content: bytes, status: int, said: str
) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/sh").touch()
    (root / "bin").symlink_to("usr/bin")
    hook = tmp_path / "50-hook"
    hook.write_bytes(content)
    told = first_line.hint(hook, status, root)
    assert said in told
    assert bool(told) == bool(said)

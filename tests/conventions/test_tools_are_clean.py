"""The linters find nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELL = (b"#!/bin/bash", b"#!/bin/sh", b"# shellcheck shell=bash")


def hooks() -> list[Path]:
    """Every bash script of the elements and of the project."""
    tops = ("elements", ".ci", "tests", "imagebuilder/lib")
    candidates = [path for top in tops for path in (ROOT / top).rglob("*")]
    files = [path for path in candidates if path.is_file() and not path.is_symlink()]
    return [path for path in files if path.read_bytes()[:64].startswith(SHELL)]


def module(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named" in done.stderr:
        pytest.skip(f"{name} is not installed")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    assert not module("ruff", "check", ".")


def test_everything_is_formatted() -> None:
    assert not module("ruff", "format", "--check", ".")


def test_types_check() -> None:
    assert not module("mypy", "imagebuilder")


def test_shell_scripts_are_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = hooks()
    assert len(scripts) > 20
    done = subprocess.run(
        ["shellcheck", "-x", *map(str, scripts)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stdout


def test_no_file_names_a_registry_host() -> None:
    host = ".".join(("deb", "debian", "org"))
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    texts = {name: (ROOT / name).read_bytes() for name in tracked if (ROOT / name).is_file()}
    assert not [name for name, text in texts.items() if host.encode() in text]

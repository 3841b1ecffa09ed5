"""Programs that stand in for the image's own do as little as they say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import imagebuilder

STAND_INS = Path(imagebuilder.__file__).parent / "lib" / "boot-loader"


def call(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with the stand-ins before `path`."""
    return subprocess.run(
        ["bash", "-c", '"$@"', "bash", *words],
        env={"PATH": f"{STAND_INS}:{path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["grub-install", "grub2-install"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with an image's own program, under the name that its distribution has for it."""
    program = tmp_path / request.param
    program.write_text('#!/bin/sh\necho own "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("name", ["grub-install", "grub2-install"])
def test_grub_is_not_installed_twice(name: str, own: Path) -> None:
    done = call(name, "--modules=part_gpt", "--target=x86_64-efi", "/dev/loop0", path=own)
    assert done.returncode == 0
    assert done.stdout.startswith("grub-install: left to the builder")


def test_the_images_grub_says_its_version(own: Path) -> None:
    assert call("grub-install", "--version", path=own).stdout == "own --version\n"


def test_a_grub_that_the_image_does_not_have_is_not_found(tmp_path: Path) -> None:
    done = call("grub-install", "/dev/loop0", path=tmp_path)
    assert (done.returncode, done.stderr) == (127, "grub-install: command not found\n")

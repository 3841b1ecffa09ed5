"""Runs the programs as a user does, on elements that a test writes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from programs import take_signals

ROOT = Path(__file__).parents[1]
ELEMENTS = ROOT / "tests" / "elements"
CREATE = "from imagebuilder.cli.start import disk_image_create; disk_image_create()"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell of bytes (images, mostly) where they differ, rather than show all of them."""
    if op != "==" or not isinstance(left, bytes) or not isinstance(right, bytes):
        return None
    if max(len(left), len(right)) <= 256:
        return None
    pairs = enumerate(zip(left, right, strict=False))
    first = next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))
    place = slice(max(first - 16, 0), first + 48)
    return [
        f"{len(left)} == {len(right)} bytes that differ first at byte {first}",
        f"left:  {left[place].hex(' ', 4)}",
        f"right: {right[place].hex(' ', 4)}",
    ]


@dataclass
class Workshop:
    """An empty directory with elements of its own, to run builds in."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        return self.directory / "scratch"

    def element(self, name: str, files: Mapping[str, str]) -> Path:
        """Write an element; hooks (files in a `.d` directory) become executable."""
        element = self.directory / "elements" / name
        element.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            file = element / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if path.split("/")[0].endswith(".d") and not path.startswith("environment.d"):
                text = f"#!/bin/bash\nset -eu\n{text}"
            file.write_text(text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        return element

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """A clean environment for a build."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.scratch),
            "IMAGEBUILDER_DIB_PACKAGES": "0",  # elements that tests write count on nothing
            "ELEMENTS_PATH": f"{self.directory}/elements:{ELEMENTS}",
            **self.environment,
            **given,
        }

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start `disk-image-create` without waiting for it."""
        return subprocess.Popen(
            [sys.executable, "-c", CREATE, *words],
            cwd=self.directory,
            env=self.variables(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=take_signals,
        )

    def create(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `disk-image-create` to its end; its output is merged into stdout."""
        with self.start(*words, **variables) as program:
            try:
                output, _ = program.communicate(timeout=900)
            except BaseException:
                os.killpg(program.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(words, program.returncode, output)

    def imagebuilder(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `imagebuilder` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "imagebuilder", *words],
            cwd=self.directory,
            env=self.variables(variables),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def furnished(directory: Path) -> Workshop:
    """A fresh workshop whose builds happen below `directory`."""
    for name in ("scratch", "elements"):
        (directory / name).mkdir()
    return Workshop(directory)


@dataclass(frozen=True)
class Packages:
    """Debian packages, downloaded with apt-get and unpacked; nothing is installed.

    IMAGEBUILDER_TEST_PACKAGES names a directory in which they are kept for the next time.
    """

    directory: Path

    def tree(self, name: str) -> Path:
        """The files of a package; the test is skipped where there is no such package."""
        tree = self.directory / name
        if not tree.exists():
            with tempfile.TemporaryDirectory(dir=self.directory) as place:
                self._download(name, Path(place))
                (deb,) = Path(place).glob("*.deb")
                unpacked = Path(place, "tree")
                subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
                unpacked.rename(tree)
        return tree

    @staticmethod
    def _download(name: str, place: Path) -> None:
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            pytest.skip("needs apt-get and dpkg-deb")
        done = subprocess.run(
            ["apt-get", "-o", "APT::Sandbox::User=root", "download", name],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"needs the package {name}: {done.stderr.strip()}")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Debian packages to take test inputs from."""
    kept = os.environ.get("IMAGEBUILDER_TEST_PACKAGES")
    directory = Path(kept) if kept else tmp_path_factory.mktemp("packages")
    directory.mkdir(parents=True, exist_ok=True)
    return Packages(directory)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A workshop for one test."""
    return furnished(tmp_path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop for all tests of a module, whose images are removed after the last one."""
    made = furnished(tmp_path_factory.mktemp("images"))
    yield made
    shutil.rmtree(made.directory)

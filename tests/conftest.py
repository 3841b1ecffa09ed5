"""Runs the programs as a user does, on elements that a test writes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ELEMENTS = ROOT / "tests" / "elements"
CREATE = "from imagebuilder.cli.start import disk_image_create; disk_image_create()"


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

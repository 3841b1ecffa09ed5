"""Programs of elements that run on the build host, started by themselves."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

ELEMENTS = Path(__file__).parents[2] / "elements"
LONG = 20_000  # lines: more than a pipe holds


@pytest.mark.parametrize("line", ["{digest}  {name}", "SHA256 ({name}) = {digest}"])
def test_an_image_is_found_at_the_head_of_a_long_list(tmp_path: Path, line: str) -> None:
    image = tmp_path / "disk.qcow2"
    image.write_text("a disk\n")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    listed = line.format(digest=digest, name=image.name)
    (tmp_path / "list").write_text(f"{listed}\n" + f"{'0' * 64}  other\n" * LONG)
    program = tmp_path / "fetch"
    shutil.copy(ELEMENTS / "redhat-image/redhat-image/fetch", program)
    (tmp_path / "sums").write_text(f"#!/bin/bash\nexec cat {tmp_path}/list\n")
    (tmp_path / "sums").chmod(0o755)
    done = subprocess.run(
        [program, image],
        env={
            "PATH": "/usr/bin:/bin", "DISTRO_NAME": "fedora", "BASE_IMAGE_FILE": image.name,
            "DIB_CLOUD_IMAGES": "http://127.0.0.1:9", "DIB_CLOUD_IMAGES_SUMS": "the list",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_repository_that_was_left_out_is_the_cause_of_what_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "  - Status code: 404 for http://mirror.example/9x/repodata/repomd.xml (IP: 192.0.2.1)\n"
        "Ignoring repositories: base\nNo match for argument: nginx\n"
        "Error: Unable to find a match: nginx\n"
    )
    program = ELEMENTS / "yum/bin/dnf-explain"
    said = subprocess.run(
        [program, log, "who"], capture_output=True, text=True, check=True
    ).stderr  # fmt: skip
    assert said.startswith("who: the repository is not there: Status code: 404 for http://mirror")
    assert said.count("\n") == 1

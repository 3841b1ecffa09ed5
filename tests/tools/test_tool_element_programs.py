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

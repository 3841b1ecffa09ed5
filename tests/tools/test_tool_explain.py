"""What a failed bootstrap says as its last line, whatever its log holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

EXPLAIN = Path(__file__).parents[2] / "elements/debootstrap/debootstrap/explain"
pytestmark = pytest.mark.tools


def test_a_mirror_that_fails_for_every_package_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(
        f"Err:{number} http://127.0.0.1:1 noble/main amd64 package-{number}\n  Connection failed\n"
        for number in range(20_000)
    ))  # fmt: skip
    done = subprocess.run([EXPLAIN, log], env={"DIB_RELEASE": "noble", "PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == (
        "debootstrap: the mirror does not answer: http://127.0.0.1:1 noble/main amd64 package-0: "
        "Connection failed (hint: check DIB_DISTRIBUTION_MIRROR, http_proxy and the network)\n"
    )

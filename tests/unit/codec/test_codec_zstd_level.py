"""zstd frames are written anew about as dense as they were."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from imagebuilder.codec import zstd

CONTENT = b"".join(
    f"line {number} of what can be compressed\n".encode() for number in range(300_000)
)


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
@pytest.mark.parametrize(("given", "taken"), [("-1", 3), ("-3", 3), ("-9", 9), ("-19", 19)])
def test_the_level_is_found_by_the_window(given: str, taken: int) -> None:
    made = subprocess.run(
        ["zstd", "-q", given, "-c"], input=CONTENT, capture_output=True, check=True
    ).stdout
    assert zstd.level(made) == taken


@pytest.mark.parametrize("like", [b"", b"other", zstd.MAGIC, zstd.pack(b"short", b"")])
def test_without_a_window_it_is_the_densest(like: bytes) -> None:
    assert zstd.level(like) == zstd.LEVEL

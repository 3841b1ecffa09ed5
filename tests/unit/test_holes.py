from __future__ import annotations

from pathlib import Path

import pytest

from imagebuilder import holes

BLOCK, MIB = 4096, 2**20


def sparse(path: Path, pieces: dict[int, bytes], size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in pieces.items():
            file.seek(offset)
            file.write(content)
    return path


@pytest.mark.parametrize(
    ("places", "size", "expected"),
    [
        ([0], 3 * MIB, [(0, 1)]),
        ([2 * MIB], 4 * MIB, [(512, 1)]),
        ([2 * MIB], 2 * MIB + 100 * BLOCK + 1, [(512, 101)]),  # what follows is no hole to keep
        ([MIB - BLOCK], 4 * MIB, [(0, 256)]),  # nor is what comes before
        ([0, 100 * BLOCK, 5 * MIB], 8 * MIB, [(0, 101), (1280, 1)]),
        ([], 3 * MIB, []),
        ([], 3 * BLOCK, [(0, 3)]),
        ([BLOCK * 6], 9 * BLOCK - 7, [(0, 9)]),
    ],
)
def test_only_large_holes_are_told(
    tmp_path: Path, places: list[int], size: int, expected: list[tuple[int, int]]
) -> None:
    file = sparse(tmp_path / "file", dict.fromkeys(places, b"x" * 10), size)
    assert list(holes.blocks(str(file), size, BLOCK)) == expected

from __future__ import annotations

import time
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


def test_the_digest_goes_by_content_and_not_by_holes(tmp_path: Path) -> None:
    pieces = {100: b"first", 2 * MIB + 7: b"x" * 200_000, 5 * MIB: b"last"}
    digests = []
    for name, size, written in (
        ("holes", 6 * MIB, pieces),
        ("zeros", 6 * MIB, {3 * MIB: bytes(MIB), **pieces}),
        ("longer", 6 * MIB + 1, pieces),
        ("first", 6 * MIB, {**pieces, 0: b"y"}),
        ("moved", 6 * MIB, {**pieces, 2 * MIB + 7: b"\0" + b"x" * 199_999}),
    ):
        with sparse(tmp_path / name, written, size).open("rb") as file:
            digests.append(holes.digest(file.fileno()))
    assert digests[0] == digests[1]
    assert len({*digests}) == 4


@pytest.mark.parametrize("pause", [0, 0.003])
def test_a_file_is_digested_while_it_is_written(tmp_path: Path, pause: float) -> None:
    with (tmp_path / "file").open("w+b") as file, holes.digesting(file.fileno()) as digest:
        file.seek(100_000)
        for number in range(10):
            file.write(bytes([number]) * 50_001)
            time.sleep(pause)
        file.seek(300_000, 1)
        file.write(b"end")
        file.seek(0)
        file.write(b"the beginning")
        file.flush()
        assert digest() == holes.digest(file.fileno())


def test_nobody_need_wait_for_the_digest(tmp_path: Path) -> None:
    file = (tmp_path / "file").open("w+b")
    with pytest.raises(KeyError), file, holes.digesting(file.fileno()):
        raise KeyError

import struct
from collections.abc import Callable, Iterator, Mapping

import pytest

from imagebuilder.filesystems import ext_map
from imagebuilder.filesystems.ext_map import Mapped, Run

BLOCK = 1024


def taking(first: int) -> Callable[[int], Iterator[tuple[int, int]]]:
    """Gives blocks from `first` on, two in a row at most."""
    state = first

    def take(count: int) -> Iterator[tuple[int, int]]:
        nonlocal state
        while count:
            given = min(count, 2)
            yield state, given
            state += given + 1
            count -= given

    return take


def of_extents(node: bytes, blocks: Mapping[int, bytes]) -> Iterator[tuple[int, int, int]]:
    """What a reader of the format finds: (logical, physical, length)."""
    magic, entries, most, depth, _ = struct.unpack_from("<HHHHI", node)
    assert magic == 0xF30A
    assert entries <= most <= (len(node) - 12) // 12
    for at in range(12, 12 + 12 * entries, 12):
        if depth:
            logical, low, high, _ = struct.unpack_from("<IIHH", node, at)
            below = list(of_extents(blocks[high << 32 | low], blocks))
            assert below[0][0] == logical
            yield from below
        else:
            logical, length, high, low = struct.unpack_from("<IHHI", node, at)
            yield logical, high << 32 | low, length


def of_pointers(made: Mapped) -> dict[int, int]:
    """What a reader of the format finds: physical blocks by logical ones."""
    blocks, each = dict(made.blocks), BLOCK // 4
    numbers = struct.unpack("<15I", made.area)
    found = dict(enumerate(numbers[:12]))
    at = 12
    for depth, number in enumerate(numbers[12:], 1):
        found |= {at + n: block for n, block in below(number, depth, blocks)}
        at += each**depth
    return {logical: block for logical, block in found.items() if block}


def below(number: int, depth: int, blocks: Mapping[int, bytes]) -> Iterator[tuple[int, int]]:
    if not number:
        return
    each = BLOCK // 4
    for place, entry in enumerate(struct.unpack(f"<{each}I", blocks[number])):
        if depth == 1:
            yield place, entry
        else:
            for inner, block in below(entry, depth - 1, blocks):
                yield place * each ** (depth - 1) + inner, block


def scattered(count: int, step: int = 3) -> list[Run]:
    return [Run(number * step, 10_000 + 7 * number, 2) for number in range(count)]


@pytest.mark.parametrize(("count", "blocks"), [(0, 0), (1, 0), (4, 0), (5, 1), (84, 1), (85, 2),
                                               (336, 4), (337, 6), (30_000, 364)])  # fmt: skip
def test_extents_are_found_again_in_as_few_blocks_as_there_can_be(count: int, blocks: int) -> None:
    made = ext_map.extents(scattered(count), BLOCK, taking(500))
    assert list(of_extents(made.area, dict(made.blocks))) == [
        tuple(run) for run in scattered(count)
    ]
    assert len(made.blocks) == blocks
    assert all(len(content) == BLOCK for _, content in made.blocks)


def test_an_extent_has_no_more_blocks_than_its_field_holds() -> None:
    made = ext_map.extents([Run(5, 2**33, 70_000)], BLOCK, taking(500))
    assert list(of_extents(made.area, {})) == [
        (5, 2**33, 32768),
        (5 + 32768, 2**33 + 32768, 32768),
        (5 + 65536, 2**33 + 65536, 70_000 - 65536),
    ]


@pytest.mark.parametrize(
    ("runs", "blocks"),
    [
        ([], 0),
        ([Run(0, 900, 12)], 0),
        ([Run(0, 900, 13)], 1),
        ([Run(3, 900, 12 + 256 - 3)], 1),
        ([Run(0, 900, 12 + 256 + 1)], 3),
        ([Run(0, 900, 12 + 256 + 256 * 256)], 1 + 1 + 256),
        ([Run(0, 900, 12 + 256 + 256 * 256 + 1)], 1 + 1 + 256 + 3),
        ([Run(12 + 256 + 65536 + 70_000, 77, 3)], 3),
        ([Run(11, 50, 2), Run(267, 60, 2), Run(65_000, 70, 2000)], 1 + 1 + 1 + 4 + 2 + 5),
    ],
)
def test_pointers_are_found_again_in_as_few_blocks_as_there_can_be(
    runs: list[Run], blocks: int
) -> None:
    made = ext_map.pointers(runs, BLOCK, taking(100_000))
    wanted = {run.logical + n: run.physical + n for run in runs for n in range(run.blocks)}
    assert of_pointers(made) == wanted
    assert len(made.blocks) == len(dict(made.blocks)) == blocks

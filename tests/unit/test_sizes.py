from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagebuilder.errors import ConfigError
from imagebuilder.sizes import UNITS, Size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("4KiB", 4096),
        ("4 KiB", 4096),
        (" 1.5GiB ", 3 * 2**29),
        ("2TiB", 2**41),
        ("10GB", 10**10),
        ("10G", 10**10),
        ("3M", 3_000_000),
        ("1.5B", 1),
        ("0.1KB", 100),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_sizes_are_read_exactly(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "big", "-1", "1 2", "1.", ".5", "1GIB", "1gb", "1Ki", "1iB", "1  MiB", "1e3", "9" * 400],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f:1: not a size: .*\n  hint: write it like 512MiB"):
        Size.parse(text, where="f:1")


@given(st.integers(0, 10**17), st.sampled_from(sorted(UNITS)))
def test_every_unit_multiplies(number: int, unit: str) -> None:
    assert Size.parse(f"{number}{unit}") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("size", "step", "expected"), [(0, 512, 0), (1, 512, 512), (512, 512, 512), (513, 512, 1024)]
)
def test_sizes_are_rounded_up(size: int, step: int, expected: int) -> None:
    assert Size(size).up_to(step) == expected


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (2**20, "1 MiB"),
     (3 * 2**29, "1.5 GiB"), (2**40, "1 TiB")],
)  # fmt: skip
def test_sizes_are_shown_in_the_largest_unit(size: int, text: str) -> None:
    assert str(Size(size)) == text

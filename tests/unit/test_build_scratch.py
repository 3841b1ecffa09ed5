"""Whether a build happens in memory is said by options, variables and what memory there is."""

from __future__ import annotations

import pytest

from imagebuilder.build.scratch import in_memory
from imagebuilder.options import MEMORY, parse

SMALL = {"DIB_MIN_TMPFS": "0.001"}  # what any machine has


def chosen(*words: str, **variables: str) -> bool:
    return in_memory(parse((*words, "element"), {**SMALL, **variables}))


def test_a_build_is_in_memory_if_there_is_enough() -> None:
    assert chosen()
    assert not chosen(DIB_MIN_TMPFS="1000000")
    assert not chosen(DIB_MIN_TMPFS="1", **{MEMORY: "1GiB"})  # it takes twice as much


@pytest.mark.parametrize(
    "variables",
    [{"DIB_NO_TMPFS": "1"}, {"DIB_NO_TMPFS": "yes"}, {"GENTOO_PROFILE": "linux/amd64/hardened"}],
)
def test_a_build_is_on_disk_if_that_is_wanted(variables: dict[str, str]) -> None:
    assert not chosen(**variables)
    assert not chosen("--no-tmpfs")
    assert chosen(DIB_NO_TMPFS="0", GENTOO_PROFILE="default/linux/amd64")

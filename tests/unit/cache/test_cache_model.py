"""The limits that variables set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from imagebuilder.cache.model import Limits, limits
from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size


def test_by_default_twenty_gibibytes_are_kept_for_thirty_days() -> None:
    assert limits({}) == Limits(max_size=Size(20 * 2**30), max_age=timedelta(days=30))


def test_variables_set_the_limits() -> None:
    found = limits({"IMAGEBUILDER_CACHE_MAX_SIZE": "5GiB", "IMAGEBUILDER_CACHE_MAX_AGE": "0.5"})
    assert found == Limits(max_size=Size(5 * 2**30), max_age=timedelta(hours=12))


@pytest.mark.parametrize(
    ("variable", "text", "what"),
    [
        ("IMAGEBUILDER_CACHE_MAX_SIZE", "much", "not a size: 'much'"),
        ("IMAGEBUILDER_CACHE_MAX_AGE", "-1", "not a number of days: '-1'"),
        ("IMAGEBUILDER_CACHE_MAX_AGE", "nan", "not a number of days: 'nan'"),
    ],
)
def test_a_bad_limit_is_refused_by_the_name_of_its_variable(
    variable: str, text: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        limits({variable: text})
    assert (caught.value.where, caught.value.what) == (variable, what)
    assert caught.value.hint.startswith("write it like")

"""The one moment that stands for 'now' in an image (reproducible-builds.org, SOURCE_DATE_EPOCH)."""

from __future__ import annotations

import os

from imagebuilder.errors import ConfigError

VARIABLE = "SOURCE_DATE_EPOCH"
LATEST = 2**31 - 1  # what every tool and every on-disk format can hold


def epoch() -> int:
    """Seconds since 1970 from our own environment, 0 if it says nothing; raise ConfigError."""
    text = os.environ.get(VARIABLE) or "0"
    if not text.isdecimal() or int(text) > LATEST:
        raise ConfigError(
            f"not a number of seconds since 1970: {text!r}",
            where=VARIABLE,
            hint=f"give a whole number from 0 to {LATEST}",
        )
    return int(text)

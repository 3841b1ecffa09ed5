"""Marks that tests of several modules have."""

from __future__ import annotations

import os

import pytest

slow = pytest.mark.skipif(
    not os.environ.get("IMAGEBUILDER_SLOW_TESTS"), reason="IMAGEBUILDER_SLOW_TESTS is not set"
)

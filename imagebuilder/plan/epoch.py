"""The date that everything gets unless the user says another."""

from __future__ import annotations

EPOCH = 1767225600  # 2026-01-01: what SOURCE_DATE_EPOCH is unless it is given

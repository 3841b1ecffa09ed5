"""How help texts are written."""

from __future__ import annotations


def sentence(text: str) -> str:
    """The text as a sentence; names in it stay as they are, unlike with `str.capitalize`."""
    return f"{text[:1].upper()}{text[1:]}."

"""All that is wrong at once: who has ten things to put right wants to hear of ten."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from imagebuilder.errors import BuildError, Interrupted, together


class Problems:
    """Errors that were noted instead of ending the work."""

    def __init__(self) -> None:
        self.found: list[BuildError] = []

    @contextmanager
    def noted(self) -> Generator[None, None, None]:
        """Go on after an error in the context; all of it after the error is left out."""
        try:
            yield
        except Interrupted:
            raise
        except BuildError as error:
            self.found.append(error)

    def check(self) -> None:
        """Raise what was noted: one error as it is, several of a kind as one of that kind."""
        if self.found:
            raise together(self.found)

"""Questions that a machine answers through its cloud's user data, when it has come up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Workshop


def ask(
    workshop: Workshop, image: str, questions: Mapping[str, str], *words: str
) -> dict[str, str]:
    """Boot an image to its login prompt, run each question's commands, and give what they said."""
    script = "; ".join(f"echo '=={name}'; ( {what} ) 2>&1" for name, what in questions.items())
    report = workshop.directory / "outcome.json"
    done = workshop.imagebuilder(
        "boot", image, "--timeout", "400", "--expect", "login:", "--run", script,
        "--json", str(report), *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    answers = re.split(r"==(\w+)\n", json.loads(report.read_text())["output"])[1:]
    return {name: text.strip() for name, text in zip(answers[::2], answers[1::2], strict=True)}

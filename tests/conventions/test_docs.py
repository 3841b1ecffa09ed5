"""What the documentation says can be done, can be done: links lead somewhere, commands parse."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagebuilder import options
from imagebuilder.cli import images, verbs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(
    r"(?:sudo (?:--?\S+ )*)?(?:python3 -m )?((?:disk-image-create|imagebuilder)(?: .*)?)$"
)


def code_lines(page: Path) -> Iterator[str]:
    """The lines of fenced and of indented code."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands() -> list[tuple[str, str]]:
    """Every command line of ours in code, and the page that it is on."""
    return [
        (str(page.relative_to(ROOT)), call[1])
        for page in PAGES
        for line in code_lines(page)
        if (call := CALL.match(line))
    ]


def links() -> list[tuple[Path, str]]:
    """Every link that is no URL, and the page that it is on."""
    return [
        (page, target)
        for page in PAGES
        for target in LINK.findall(page.read_text())
        if not re.match(r"[a-z]+:", target)
    ]


def anchors(page: Path) -> set[str]:
    """What can follow `#` in a link to the page, as forges spell it."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_there_is_something_to_check() -> None:
    programs = {command.split()[0] for _, command in commands()}
    assert programs == {"disk-image-create", "imagebuilder"}
    assert len(commands()) > 30
    assert len(links()) > 50
    assert len(list(DOCS.glob("howto/*.md"))) >= 8
    assert len(list(DOCS.glob("design/*.md"))) >= 6
    assert len(list(DOCS.glob("reference/elements/*.md"))) >= 20


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_links_lead_to_something() -> None:
    broken = []
    for page, target in links():
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_every_option_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "options.md").read_text()
    flags = [f"-{option.short}" for option in options.OPTIONS if option.short]
    flags += [f"--{option.long}" for option in options.OPTIONS if option.long]
    assert [flag for flag in flags if f"`{flag}`" not in text] == []


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_in_code_parse(page: str, command: str) -> None:
    program, *words = shlex.split(command)
    if program == "imagebuilder":
        assert words, f"{page}: a verb is missing"
        assert words[0] in verbs.VERBS, f"{page}: {command}"
        parsed, rest = verbs._parser(words[0]).parse_known_args(words)
        assert parsed.verb in verbs.TAKES_BUILD_OPTIONS or not rest, f"{page}: {command}"
        words = rest
        if parsed.verb not in verbs.TAKES_BUILD_OPTIONS:
            return
        if parsed.verb == "build" and (files := images.from_words(words)):
            words = [*files[1], "element"]
    request = options.parse(words, {})
    assert request.elements or request.help or request.version

"""The little Markdown that generated pages are made of, and READMEs translated into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

WRITTEN = "<!-- Written by docs/generate.py: change the code, not this page. -->"
UNDERLINE = re.compile(r"([=\-~^\"'`#*+.])\1{2,}")


def page(title: str, *parts: str) -> str:
    """A page of paragraphs, tables and headings."""
    return (
        "\n\n".join((f"# {title}", WRITTEN, *(part.strip("\n") for part in parts if part))) + "\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with what a cell cannot hold escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """The text as code; nothing, if it is nothing."""
    return f"`{text}`" if text else ""


def from_rst(text: str, *, without: str = "") -> str:
    """What a README in reStructuredText says, without its title and one of its sections."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text.rstrip())
    text = re.sub(r"`([^`<>]+?)\s*<(\S+?)>`__?", r"[\1](\2)", text)
    lines = _headings(_without_title(text.split("\n")))
    return "\n".join(_blocks(_without(f"## {without}", lines))).strip("\n")


def _cell(text: str) -> str:
    """The text with what a table, or Markdown outside code, would take for its own."""
    pieces = text.replace("|", r"\|").replace("\n", " ").split("`")
    plain = (piece.replace("<", "&lt;").replace("*", r"\*") for piece in pieces[::2])
    return "`".join(
        piece for pair in zip_longest(plain, pieces[1::2]) for piece in pair if piece is not None
    )


def _without_title(lines: list[str]) -> list[str]:
    if lines and UNDERLINE.fullmatch(lines[0]):
        return lines[3:]
    return lines[2:] if len(lines) > 1 and UNDERLINE.fullmatch(lines[1]) else lines


def _headings(lines: list[str]) -> Iterator[str]:
    after = [*lines[1:], ""]
    skip = False
    for line, following in zip(lines, after, strict=True):
        if skip:
            skip = False
        elif line.strip() and UNDERLINE.fullmatch(following):
            skip = True
            yield f"## {line.strip()}"
        else:
            yield line


def _without(heading: str, lines: Iterable[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        if line.startswith("## "):
            inside = line == heading
        if not inside:
            yield line


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Literal blocks and `code-block` directives become fenced code."""
    waiting: str | None = None  # the language of a block that is about to begin
    block: list[str] = []
    for line in (*lines, "."):
        inside = waiting is not None and (not line.strip() or line.startswith(" "))
        if inside:
            block.append(line)
            continue
        if waiting is not None:
            yield from _fenced(block, waiting)
            waiting, block = None, []
        directive = re.match(r"\.\. code(?:-block)?::\s*(\S*)", line)
        if directive:
            waiting = directive[1]
        elif line.endswith("::"):
            waiting = ""
            yield line[:-1]
        elif line != ".":
            yield line


def _fenced(block: list[str], language: str) -> Iterator[str]:
    text = "\n".join(block).strip("\n")
    indent = min(
        (len(row) - len(row.lstrip()) for row in text.split("\n") if row.strip()), default=0
    )
    yield ""
    yield f"```{language}"
    yield from (row[indent:] for row in text.split("\n"))
    yield "```"
    yield ""

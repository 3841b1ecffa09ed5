"""Control files: paragraphs of fields (deb-control(5), Debian Policy 5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagebuilder.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Fields in their order, and their values: lines that go on are kept with their blank."""

    fields: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str:
        """A field's value, whatever its case; nothing if it is not there."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), "")

    def changed(self, new: Mapping[str, str]) -> Paragraph:
        """The same with fields replaced, or put at the end; an empty value takes one away."""
        wanted = {name.lower(): (name, value) for name, value in new.items()}
        kept = [
            (name, wanted.pop(name.lower())[1]) if name.lower() in wanted else (name, value)
            for name, value in self.fields
        ]
        return Paragraph(tuple((n, v) for n, v in (*kept, *wanted.values()) if v))

    def __str__(self) -> str:
        return "".join(
            f"{name}:{'' if value.startswith(chr(10)) else ' '}{value}\n"
            for name, value in self.fields
        )


def parse(text: str, where: str) -> Paragraph:
    """The one paragraph in `text`; raise ConfigError if there is none, or there are several."""
    found = list(paragraphs(text, where))
    if len(found) != 1:
        raise ConfigError(f"has {len(found)} paragraphs, not one", where=where)
    return found[0]


def paragraphs(text: str, where: str) -> Iterator[Paragraph]:
    """All paragraphs; raise ConfigError for a line that is no field."""
    fields: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            if fields:
                yield Paragraph(tuple(fields))
            fields = []
        elif line[0] in " \t" and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\n{line}")
        elif ":" in line and line[0] not in " \t:":
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
        elif not line.startswith("#"):
            raise ConfigError(f"not a field: {line!r}", where=f"{where}:{number}")
    if fields:
        yield Paragraph(tuple(fields))

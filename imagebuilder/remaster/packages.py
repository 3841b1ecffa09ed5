"""What dpkg has installed, by its own list (dpkg, `deb-status(5)`; RFC 822 paragraphs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def versions(status: str) -> dict[str, str]:
    """The version of each installed package, named as dpkg names it: with an architecture only
    where several may be installed."""
    found = {}
    for fields in paragraphs(status):
        if fields.get("Status", "").endswith(" installed"):
            several = fields.get("Multi-Arch") == "same"
            name = fields["Package"] + f":{fields.get('Architecture', '')}" * several
            found[name] = fields.get("Version", "")
    return found


def manifest(status: str) -> str:
    """What `dpkg-query -W` prints."""
    rows = versions(status)
    return "".join(f"{name}\t{rows[name]}\n" for name in sorted(rows))


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """The fields of each paragraph that has a name; continued lines are left out."""
    for block in text.split("\n\n"):
        rows = (line.partition(":") for line in block.splitlines() if line[:1] not in (" ", "\t"))
        fields = {key: value.strip() for key, _, value in rows}
        if fields.get("Package"):
            yield fields

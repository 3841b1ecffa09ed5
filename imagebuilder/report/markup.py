"""HTML that cannot be broken by what is put into it: text is escaped unless it is Markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

VOID = frozenset({"input", "meta"})
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """The text as HTML; characters that HTML forbids become U+FFFD."""
    return text if isinstance(text, Markup) else Markup(html.escape(FORBIDDEN.sub("\ufffd", text)))


def join(parts: Iterable[str]) -> Markup:
    """All parts one after another."""
    return Markup("".join(escape(part) for part in parts))


def tag(name: str, /, *content: str, **attributes: str | float | None) -> Markup:
    """An element; `aria_label` stands for `aria-label`, `class_` for `class`, None for nothing."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in VOID else f"{join(content)}</{name}>"
    return Markup(f"<{name}{words}>{end}")

"""The catalogue of elements, and a page about each: its README and what its directory says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import texts
from markdown import code, from_rst, page, table

from imagebuilder import schema
from imagebuilder.element import load, merge
from imagebuilder.element.model import ALL_PHASES, Element, Variable


def pages(directory: Path) -> Mapping[str, str]:
    """The pages of the elements in a directory, by their names relative to docs/reference."""
    index = load.index([directory])
    elements = [load.load(path) for path in index.values()]
    return {
        "elements.md": catalogue(elements),
        **{f"elements/{each.name}.md": element_page(each, elements) for each in elements},
    }


def catalogue(elements: Iterable[Element]) -> str:
    """All elements by task, and all variables that they declare."""
    listed = list(elements)
    variables = sorted(
        (code(variable.name), f"[{each.name}](elements/{each.name}.md)", variable.help)
        for each in listed
        for variable in each.variables
    )
    return page(
        "Elements",
        texts.ELEMENTS,
        *(part for tag in _tags(listed) for part in _task(tag, listed)),
        "## Variables of elements",
        table(("variable", "element", "meaning"), variables),
    )


def _tags(elements: Iterable[Element]) -> list[str]:
    """The tags that are used, in the order of texts.TASKS; those that are not in it come last."""
    used = sorted({tag for each in elements for tag in each.tags or ("other",)})
    return [
        *(tag for tag in texts.TASKS if tag in used),
        *(t for t in used if t not in texts.TASKS),
    ]


def _task(tag: str, elements: Iterable[Element]) -> tuple[str, str]:
    """The elements with a tag, below a heading."""
    rows = [
        (f"[{e.name}](elements/{e.name}.md)", e.summary, ", ".join(e.supports) or "any")
        for e in elements
        if tag in (e.tags or ("other",))
    ]
    return f"## {texts.TASKS.get(tag, tag)}", table(("element", "what it does", "meant for"), rows)


def element_page(element: Element, elements: Iterable[Element]) -> str:
    """One element."""
    listed = list(elements)
    return page(
        element.name,
        element.summary,
        "\n".join(f"- {what}: {fact}" for what, fact in _facts(element, listed)),
        _readme(element),
        *_section("Variables", ("variable", "type", "default", "meaning"), _variables(element)),
        *_section("Packages", ("package", "when"), _packages(element)),
        *_section("Hooks", ("phase", "hook", "where"), _hooks(element)),
    )


def _facts(element: Element, elements: list[Element]) -> list[tuple[str, str]]:
    users = [each.name for each in elements if element.name in each.depends]
    known = {each.name for each in elements}
    facts = [
        ("depends on", ", ".join(_link(name, known) for name in element.depends)),
        ("provides", ", ".join(code(name) for name in element.provides)),
        ("needed by", ", ".join(_link(name, known) for name in users)),
        ("meant for", ", ".join(element.supports) or "any distribution"),
        ("early packages", "yes" if element.early_packages else "no"),
    ]
    return [fact for fact in facts if fact[1]]


def _link(name: str, known: set[str]) -> str:
    return f"[{name}]({name}.md)" if name in known else code(name)


def _readme(element: Element) -> str:
    readme = element.path / "README.rst"
    if not readme.is_file():
        return ""
    # element.yaml says the same of the variables, and more
    return from_rst(readme.read_text(encoding="utf-8"), without="Variables")


def _section(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"## {title}", table(heads, rows)] if rows else []


def _variables(element: Element) -> list[tuple[str, ...]]:
    return [
        (code(each.name), _type(each), _default(each), each.help + " (secret)" * bool(each.secret))
        for each in element.variables
    ]


def _type(variable: Variable) -> str:
    return ", ".join(map(code, variable.choices)) if variable.choices else variable.type


def _default(variable: Variable) -> str:
    return "required" if variable.required else code(variable.default)


def _packages(element: Element) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for file in ("package-installs.json", "package-installs.yaml"):
        path = element.path / file
        for name, said in (schema.read(path).value or {}).items() if path.is_file() else ():
            for wish in said if isinstance(said, list) else [said]:
                conditions = (f"{key}: {value}" for key, value in (wish or {}).items())
                rows.append((code(name), "; ".join(code(each) for each in conditions)))
    return rows


def _hooks(element: Element) -> list[tuple[str, ...]]:
    tree = merge.merge([element])
    sourced = [
        ("environment", code(name), "sourced before each phase") for name in tree.environment
    ]
    run = [
        (phase.name, code(hook.name), phase.where.value)
        for phase in ALL_PHASES
        for hook in tree.of(phase.name)
    ]
    return [*sourced, *run]

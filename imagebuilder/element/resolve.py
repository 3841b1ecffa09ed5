"""Names to elements: what is asked for, and all that it depends on, in one fixed order.

A name may be *provided*: an element that lists it in `element-provides` stands for it, and no
directory of that name is needed, nor used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder.element.gone import GONE
from imagebuilder.element.load import check_name, load, provides
from imagebuilder.element.model import Element
from imagebuilder.errors import ElementError, nearest

COMMAND_LINE = "command line"
OPERATING_SYSTEM = "operating-system"


@dataclass(slots=True)
class _Walk:
    """How far the dependencies have been followed."""

    waiting: deque[str]
    asked_by: dict[str, str]  # every name seen, and where it stands
    reached: dict[str, Element] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    providers: dict[str, str] = field(default_factory=dict)


def resolve(names: Sequence[str], index: Mapping[str, Path]) -> tuple[Element, ...]:
    """The named elements and all they depend on, each after its dependencies.

    Raise ElementError if one is missing, if two provide the same, or if none is an operating
    system. The order depends on nothing but which elements they are; elements that depend on
    each other stand together, sorted by name.
    """
    for name in names:
        check_name(name, where=COMMAND_LINE)
    walk = _walk(sorted(set(names)), index)
    _check_missing(walk, index)
    _check_requested(walk, names)
    if OPERATING_SYSTEM not in walk.providers:
        raise _no_operating_system(index)
    chosen = {name: element for name, element in walk.reached.items() if name not in walk.providers}
    return _in_order(chosen, walk.providers)


def _walk(names: Sequence[str], index: Mapping[str, Path]) -> _Walk:
    walk = _Walk(waiting=deque(names), asked_by=dict.fromkeys(names, COMMAND_LINE))
    while walk.waiting:
        name = walk.waiting.popleft()
        if name in walk.providers:
            continue
        if name not in index:
            walk.missing.append(name)  # unless something that comes later provides it
            continue
        walk.reached[name] = load(index[name])
        _follow(walk, walk.reached[name])
    return walk


def _follow(walk: _Walk, element: Element) -> None:
    for name in sorted(element.provides):
        if name in walk.providers:
            raise _provided_twice(name, walk.providers[name], f"{element.name!r} provides it too")
        walk.providers[name] = element.name
    for name in sorted(element.depends):
        if name not in walk.asked_by:
            walk.asked_by[name] = str(element.path / "element-deps")
            walk.waiting.append(name)


def _check_missing(walk: _Walk, index: Mapping[str, Path]) -> None:
    for name in walk.missing:
        if name not in walk.providers:
            raise ElementError(
                f"Element {name!r} not found",
                where=walk.asked_by[name],
                hint=GONE.get(name) or nearest(name, index) or _hint(name),
            )


def _hint(name: str) -> str:
    if name.endswith((".yaml", ".yml")):
        return "a file that describes images is for `imagebuilder build FILE`, with --dry-run too"
    return "add the directory that it is in to ELEMENTS_PATH"


def _check_requested(walk: _Walk, names: Iterable[str]) -> None:
    for name in sorted(set(names)):
        if name in walk.providers:
            raise _provided_twice(name, walk.providers[name], f"{name!r} was asked for by name")


def _provided_twice(name: str, provider: str, other: str) -> ElementError:
    return ElementError(
        f"{name}: already provided by [{provider!r}]",
        where=COMMAND_LINE,
        hint=f"{other}: choose one of them",
    )


def _no_operating_system(index: Mapping[str, Path]) -> ElementError:
    known = [name for name, path in sorted(index.items()) if _is_operating_system(path)]
    return ElementError(
        "Please include an operating system element",
        where=COMMAND_LINE,
        hint=f"there are: {', '.join(known)}" if known else "set ELEMENTS_PATH to where one is",
    )


def _is_operating_system(path: Path) -> bool:
    try:
        return OPERATING_SYSTEM in provides(path)
    except ElementError:  # of an element that nobody asked for
        return False


def _in_order(elements: Mapping[str, Element], providers: Mapping[str, str]) -> tuple[Element, ...]:
    import networkx  # costs 100 ms, needed only here

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(sorted(elements))
    for name, element in sorted(elements.items()):
        needed = (providers.get(dependency, dependency) for dependency in element.depends)
        graph.add_edges_from((dependency, name) for dependency in needed if dependency in elements)
    groups = networkx.condensation(graph)
    members = {group: sorted(names) for group, names in groups.nodes(data="members")}
    order = networkx.lexicographical_topological_sort(groups, key=lambda group: members[group][0])
    return tuple(elements[name] for group in order for name in members[group])

"""The packages that elements want installed and removed: their `package-installs` files.

How the wishes of several elements combine is diskimage-builder's, whose program
`package-installs-squash` is the only description of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagebuilder import schema
from imagebuilder.element import documents, pkgmap
from imagebuilder.element.model import (
    Element,
    HooksTree,
    PackageChange,
    PackageRequest,
)
from imagebuilder.errors import ConfigError, nearest

FILES = ("package-installs.json", "package-installs.yaml")
PHASES = ("pre-install", "install", "post-install")
REMOVALS = ("uninstall", "build-only")
BEFORE_PACKAGES = ("extra-data", "pre-install")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a file says once about one package."""

    element: Element
    name: str
    properties: Mapping[str, Any]
    document: schema.Document
    path: tuple[str | int, ...]  # of the properties in the document

    @property
    def phase(self) -> str:
        return str(self.properties.get("phase", "install.d")).removesuffix(".d")

    def place(self, *keys: str | int) -> str:
        """Where the wish, or a value in it, is written."""
        return self.document.place((*self.path, *keys))


@dataclass(slots=True)
class _Lists:
    """The packages of one phase, as far as the wishes have been read."""

    install: list[_Wish] = field(default_factory=list)
    uninstall: list[_Wish] = field(default_factory=list)


def requests(
    elements: Sequence[Element], environment: Mapping[str, str]
) -> Mapping[str, PackageChange]:
    """What each of the phases installs and removes; raise ConfigError for a bad file.

    The order is that of the elements, then by name. An element says under which conditions,
    and those on variables need `ARCH` and whatever its `when` names to be set.
    """
    lists = {phase: _Lists() for phase in PHASES}
    for element in elements:
        for wish in _wishes(element):
            if wish.phase in lists:
                _add(wish, lists[wish.phase], environment)
    maps = {element.name: _map(element) for element in elements}
    return {
        phase: PackageChange(
            _requests(elements, lists[phase].install, maps, environment),
            _requests(elements, lists[phase].uninstall, maps, environment),
        )
        for phase in PHASES
    }


def warnings(elements: Iterable[Element]) -> tuple[str, ...]:
    """What is allowed in the files of the elements but does not do what it seems to."""
    wishes = [wish for element in elements for wish in _wishes(element)]
    removed = (
        f"{wish.place(key)}: '{key}: {wish.properties[key]}' removes {wish.name} like"
        f" '{key}: true' does; leave the key out to keep it"
        for wish in wishes
        for key in REMOVALS
        if str(wish.properties.get(key, True)).lower() in {"false", "no", "0", "none", ""}
    )
    never = (
        f"{wish.place('phase')}: packages are not installed in '{wish.properties['phase']}',"
        f" so {wish.name} never is; choose one of {', '.join(f'{p}.d' for p in PHASES)}"
        for wish in wishes
        if wish.phase not in PHASES
    )
    return (*removed, *never)


def early(
    elements: Sequence[Element], tree: HooksTree, changes: Mapping[str, PackageChange]
) -> tuple[str, ...]:
    """The packages, sorted, that may be installed together with the base system.

    They are those that elements with early packages want in pre-install and install and nobody
    removes again. There are none if an element without early packages has a hook before the
    install phase: it could change what installing a package does, by a package source, a
    configuration file or a version that is held, and would come too late for these.
    """
    willing = {element.name for element in elements if element.early_packages}
    before = [hook for phase in BEFORE_PACKAGES for hook in tree.of(phase)]
    if any(hook.element not in willing for hook in before):
        return ()
    removed = {
        name
        for change in changes.values()
        for request in change.uninstall
        for name in request.names
    }
    wanted = {
        name
        for phase in ("pre-install", "install")
        for request in changes[phase].install
        if request.element in willing
        for name in request.names
    }
    return tuple(sorted(wanted - removed))


def _wishes(element: Element) -> Iterator[_Wish]:
    for file in FILES:
        if (element.path / file).exists():
            document = documents.read(element.path / file)
            for name, properties in (document.value or {}).items():
                yield from _wishes_for(element, name, properties, document)


def _wishes_for(
    element: Element, name: str, properties: Any, document: schema.Document
) -> Iterator[_Wish]:
    if isinstance(properties, list) and properties:
        for number, item in enumerate(properties):
            yield _Wish(element, name, item or {}, document, (name, number))
    else:
        yield _Wish(element, name, properties or {}, document, (name,))


def _add(wish: _Wish, lists: _Lists, environment: Mapping[str, str]) -> None:
    """Put the wish on the lists. Earlier ones may yield to it even if it does not apply."""
    installed = any(other.name == wish.name for other in lists.install)
    uninstalled = any(other.name == wish.name for other in lists.uninstall)
    removal, build_only = (key in wish.properties for key in REMOVALS)
    kept = not (removal or build_only) or (installed and not uninstalled)
    if not (removal or build_only):
        lists.uninstall = [other for other in lists.uninstall if other.name != wish.name]
    if not _applies(wish, environment):
        return
    if build_only or not removal:
        lists.install.append(wish)
    if not kept:
        lists.uninstall.append(wish)


def _applies(wish: _Wish, environment: Mapping[str, str]) -> bool:
    return (
        _suits_type(wish, environment)
        and _suits_architecture(wish, environment)
        and _suits_python(wish, environment)
        and _suits_conditions(wish, environment)
    )


def _suits_type(wish: _Wish, environment: Mapping[str, str]) -> bool:
    default = environment.get("DIB_DEFAULT_INSTALLTYPE") or "source"
    variable = f"DIB_INSTALLTYPE_{wish.element.name.replace('-', '_')}"
    wanted = wish.properties.get("installtype")
    return wanted is None or wanted == environment.get(variable, default)


def _suits_architecture(wish: _Wish, environment: Mapping[str, str]) -> bool:
    arch, not_arch = (wish.properties.get(key) or "" for key in ("arch", "not-arch"))
    if arch and not_arch:
        raise ConfigError(
            f"both 'arch' and 'not-arch' are given for {wish.name}",
            where=wish.place("not-arch"),
            hint="leave one of them out",
        )
    if not (arch or not_arch):
        return True
    ours = _value(wish, "ARCH", environment, "arch" if arch else "not-arch")
    listed = ours in [entry.strip() for entry in (arch or not_arch).split(",")]
    return listed if arch else not listed


def _suits_python(wish: _Wish, environment: Mapping[str, str]) -> bool:
    wanted = str(wish.properties.get("dib_python_version", ""))
    return not wanted or wanted == environment.get("DIB_PYTHON_VERSION", "")


def _suits_conditions(wish: _Wish, environment: Mapping[str, str]) -> bool:
    """Whether all conditions hold; every one is read, so that a bad one is found."""
    when = wish.properties.get("when")
    conditions = list(enumerate(when)) if isinstance(when, list) else [("when", when)]
    held = []
    for key, condition in conditions:
        match = re.match(r"(\w+)\s*(!?=)\s*(.*)", condition or "")
        if match:
            path = ("when", key) if isinstance(when, list) else ("when",)
            value = _value(wish, match[1], environment, *path)
            held.append((value == match[3]) == (match[2] == "="))
    return all(held)


def _value(wish: _Wish, name: str, environment: Mapping[str, str], *path: str | int) -> str:
    if name not in environment:
        raise ConfigError(
            f"the variable {name} is not set, and whether {wish.name} is wanted depends on it",
            where=wish.place(*path),
            hint=nearest(name, environment),
        )
    return environment[name]


def _map(element: Element) -> pkgmap.PackageMap | None:
    path = element.path / "pkg-map"
    return pkgmap.load(path) if path.exists() else None


def _requests(
    elements: Sequence[Element],
    wishes: Iterable[_Wish],
    maps: Mapping[str, pkgmap.PackageMap | None],
    environment: Mapping[str, str],
) -> tuple[PackageRequest, ...]:
    turns = {element.name: turn for turn, element in enumerate(elements)}
    wanted = {(turns[wish.element.name], wish.name): wish for wish in wishes}
    return tuple(
        PackageRequest(name, wish.element.name, _mapped(wish, maps[wish.element.name], environment))
        for (_, name), wish in sorted(wanted.items(), key=lambda item: item[0])
    )


def _mapped(
    wish: _Wish, package_map: pkgmap.PackageMap | None, environment: Mapping[str, str]
) -> tuple[str, ...]:
    if package_map is None:
        return (wish.name,)
    distribution = environment.get("DISTRO_NAME", "")
    if not distribution:
        raise ConfigError(
            f"DISTRO_NAME is not set, and what {wish.name} is called depends on it",
            where=str(wish.element.path / "pkg-map"),
            hint="an operating system element exports it from its environment.d",
        )
    names = package_map.names(wish.name, distribution, environment.get("DIB_RELEASE", ""))
    return (wish.name,) if names is None else names

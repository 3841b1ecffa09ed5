"""Plugins by name, so that anybody's package can add a filesystem, format or boot loader."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from types import ModuleType

from imagebuilder.errors import ConfigError
from imagebuilder.schema import nearest


@cache
def names(kind: str) -> tuple[str, ...]:
    """The plugins of a kind (`filesystems`, `formats`, `boot`), sorted."""
    found = importlib.metadata.entry_points(group=f"imagebuilder.{kind}")
    return tuple(sorted({entry.name for entry in found}))


@cache
def find(kind: str, name: str) -> ModuleType:
    """The module registered as `name`; raise ConfigError if there is none."""
    from stevedore.driver import DriverManager
    from stevedore.exception import NoMatches

    try:
        plugin = DriverManager[ModuleType](f"imagebuilder.{kind}", name).driver
    except NoMatches as error:
        known = names(kind)
        raise ConfigError(
            f"no {kind} plugin is called {name!r}",
            hint=nearest(name, known) or f"there are: {', '.join(known)}",
        ) from error
    assert isinstance(plugin, ModuleType)
    return plugin

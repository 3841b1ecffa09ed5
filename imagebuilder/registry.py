"""Plugins by name, so that anybody's package can add a filesystem, format or boot loader."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from imagebuilder.errors import ConfigError, nearest

CHECKOUT = Path(__file__).parents[1] / "pyproject.toml"
BLOCK_DEVICE_PLUGINS = "diskimage_builder.block_device.plugin"
ANY_FORMAT = "imagebuilder.formats.converted"  # for names that no plugin has: qemu-img's formats


@cache
def names(kind: str) -> tuple[str, ...]:
    """The plugins of a kind (`filesystems`, `formats`, `boot`), sorted."""
    installed = importlib.metadata.entry_points(group=f"imagebuilder.{kind}")
    return tuple(sorted({entry.name for entry in installed} | set(_of_the_checkout(kind))))


def require(kind: str, name: str) -> None:
    """Raise ConfigError unless a plugin is registered as `name`; nothing is loaded."""
    known = names(kind)
    if name not in known:
        raise ConfigError(
            f"no {kind} plugin is called {name!r}",
            hint=nearest(name, known) or f"there are: {', '.join(known)}",
        )


@cache
def find(kind: str, name: str) -> ModuleType:
    """The module registered as `name`; raise ConfigError if there is none."""
    require(kind, name)
    own = _of_the_checkout(kind).get(name)
    if own is not None:
        return importlib.import_module(own)
    from stevedore.driver import DriverManager  # costs 50 ms

    manager: DriverManager[ModuleType] = DriverManager(f"imagebuilder.{kind}", name)
    assert isinstance(manager.driver, ModuleType)
    return manager.driver


def output_format(name: str) -> ModuleType:
    """The module that writes outputs of type `name`, whoever's that is."""
    known = name in names("formats")
    return find("formats", name) if known else importlib.import_module(ANY_FORMAT)


def suffix(name: str) -> str:
    """What files of that type end in."""
    suffixes: Mapping[str, str] = output_format(name).SUFFIXES
    return suffixes.get(name, f".{name}")


@cache
def foreign_block_device_plugins() -> Mapping[str, str]:
    """Installed plugins for diskimage-builder's block devices, each with its package's name.

    None is loaded: they act on devices that are attached, and mostly mounted, while a disk is made.
    """
    found = importlib.metadata.entry_points(group=BLOCK_DEVICE_PLUGINS)
    return {entry.name: entry.dist.name if entry.dist else entry.module for entry in found}


@cache
def _of_the_checkout(kind: str) -> Mapping[str, str]:
    """The same table for a source checkout that nobody has installed: from pyproject.toml."""
    if not CHECKOUT.is_file():
        return {}
    project = tomllib.loads(CHECKOUT.read_text())["project"]
    table: Mapping[str, str] = project["entry-points"].get(f"imagebuilder.{kind}", {})
    return table

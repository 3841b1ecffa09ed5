"""The parts of a block-device document, in tree or graph notation, as one flat list of entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import yaml

from imagebuilder import schema
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.registry import foreign_block_device_plugins
from imagebuilder.sizes import Size

PLUGINS = ("local_loop", "partitioning", "lvm", "mkfs", "mount", "fstab")
LISTS = {
    "partitioning": {"partitions": "partition"},
    "lvm": {"pvs": "pv", "vgs": "vg", "lvs": "lv"},
}  # keys whose entries are things of their own, and what each is


@dataclass(frozen=True, slots=True)
class Entry(schema.Document):
    """One plugin's part of a document; its places are counted from the whole document."""

    kind: str = ""
    path: tuple[str | int, ...] = ()

    def place(self, path: Iterable[str | int] = ()) -> str:
        """`file:line:column` of the value at `path` in this entry."""
        return schema.Document.place(self, (*self.path, *path))

    def key_place(self, path: Iterable[str | int], key: str) -> str:
        """`file:line:column` of a key in the mapping at `path` in this entry."""
        return schema.Document.key_place(self, (*self.path, *path), key)

    def fail(self, what: str, *path: str, hint: str = "") -> ConfigError:
        """An error about this entry, or about the value at `path` in it."""
        return ConfigError(what, where=self.place(path), hint=hint)

    def written(self, key: str) -> str:
        """A scalar as it is spelled in the document: `0700` is not 448 here."""
        node = self.node
        for step in (*self.path, key):
            node = _below(node, step)
        return node.value if isinstance(node, yaml.ScalarNode) else str(self.value[key])

    @property
    def name(self) -> str:
        return str(self.value["name"])

    @property
    def base(self) -> str:
        return str(self.value.get("base", ""))

    @property
    def bases(self) -> tuple[str, ...]:
        """Everything it lies on; a volume group lies on several physical volumes."""
        base = self.value.get("base", [])
        return tuple(map(str, base)) if isinstance(base, list) else (str(base),)

    def uuid(self, identity: UUID) -> UUID:
        """A UUID that follows from that of the image."""
        return uuid5(identity, self.name)

    def size(self, key: str) -> Size:
        """The size at `key`; raise ConfigError for what is none, and for nothing."""
        size = Size.parse(str(self.value[key]), where=self.place((key,)))
        if not size:
            raise self.fail("a size of nothing", key)
        return size


def expand(document: schema.Document) -> Iterator[Entry]:
    """Every entry of `document` with its name and base; raise ConfigError if it is no list."""
    if not isinstance(document.value, list):
        raise ConfigError("Config should be a list of plugins", where=document.place(()))
    for index, item in enumerate(document.value):
        if not isinstance(item, dict):
            raise ConfigError(f"Config entry not a dict: {item}", where=document.place((index,)))
        if len(item) != 1:
            raise ConfigError(
                f"Config entry top-level should be a single dict: {item}",
                where=document.place((index,)),
            )
        kind = next(iter(item))
        if kind not in PLUGINS:
            raise ConfigError(
                f"Config entry is not a plugin value: {item}",
                where=document.place((index,)),
                hint=_of_others(kind)
                or nearest(str(kind), PLUGINS)
                or f"plugins: {', '.join(PLUGINS)}",
            )
        yield from _flat(Entry(document.where, item[kind], document.node, kind, (index, kind)))


def canonical(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The entries in graph notation, as diskimage-builder writes them into its `config.json`."""
    listed = tuple(entries)
    found = []
    for entry in (entry for entry in listed if entry.kind in PLUGINS):
        lists = {
            key: [
                e.value
                for e in listed
                if e.kind == kind and e.path[: len(entry.path)] == entry.path
            ]
            for key, kind in LISTS.get(entry.kind, {}).items()
        }
        found.append({entry.kind: {**entry.value, **lists}})
    return found


def _flat(entry: Entry, base: str = "") -> Iterator[Entry]:
    """The entry without what is nested in it, then what is nested in it, based on it."""
    if not isinstance(entry.value, Mapping):
        raise entry.fail(f"{entry.kind} should be a mapping, not {entry.value!r}")
    for key, value in entry.value.items():
        if isinstance(value, Mapping) and (hint := _of_others(key)):
            raise entry.fail(f"Config entry is not a plugin value: {key}", str(key), hint=hint)
    own = _own(entry, base)
    yield own
    for key, kind in LISTS.get(entry.kind, {}).items():
        yield from _flat_list(own, key, kind)
    for key, value in entry.value.items():
        if key in PLUGINS:
            nested = Entry(entry.where, value, entry.node, key, (*entry.path, key))
            yield from _flat(nested, str(own.value.get("name", "")))


def _of_others(kind: object) -> str:
    """What to do instead of a plugin that somebody has installed for diskimage-builder."""
    package = foreign_block_device_plugins().get(str(kind))
    if package is None or kind in PLUGINS:
        return ""
    return (
        f"{kind!r} of the Python package {package!r} is not loaded: no disk is attached when it"
        " would run; do it in a hook of finalise.d with --attached, or write a plugin for"
        " 'imagebuilder.filesystems'"
    )


def _flat_list(owner: Entry, key: str, kind: str) -> Iterator[Entry]:
    listed = owner.value.get(key)
    base = owner.base if kind == "partition" else ""
    for index, value in enumerate(listed if isinstance(listed, list) else ()):
        path = (*owner.path, key, index)
        yield from _flat(Entry(owner.where, value, owner.node, kind, path), base)


def _own(entry: Entry, base: str) -> Entry:
    value = {key: entry.value[key] for key in entry.value if key not in PLUGINS}
    if base:
        value.setdefault("base", base)
    if isinstance(value.get("base"), str) and entry.kind in PLUGINS:
        value.setdefault("name", f"{entry.kind}_{value['base']}")
    return Entry(entry.where, value, entry.node, entry.kind, entry.path)


def _below(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step]  # type: ignore[no-any-return]
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None

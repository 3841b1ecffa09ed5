"""The block-device document (diskimage-builder's, tree or graph notation) becomes a `Disk`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

import yaml

from imagebuilder import schema
from imagebuilder.disk import gpt, graph, mbr
from imagebuilder.disk.model import (
    Defaults,
    Device,
    Disk,
    Filesystem,
    Partition,
    Partitioning,
    Table,
)
from imagebuilder.errors import ConfigError, nearest
from imagebuilder.sizes import Size

PLUGINS = ("local_loop", "partitioning", "mkfs", "mount", "fstab")
NODE_KINDS = {"local_loop": "device"}
LABEL_LENGTHS = {"ext2": 16, "ext3": 16, "ext4": 16, "swap": 16, "xfs": 12, "vfat": 11, "fat": 11}
ROOT = "mkfs_root"  # the one filesystem that the command line's options are about


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


def load(document: schema.Document, defaults: Defaults) -> Disk:
    """The disk that `document` asks for; raise ConfigError with the place of what is wrong."""
    entries = tuple(_with_root(entry, defaults) for entry in _expanded(document))
    for entry in entries:
        schema.check(entry, f"disk/schemas/{entry.kind}.json")
    _check_graph(entries)
    _check_bases(entries)
    identity = uuid5(uuid5(NAMESPACE_DNS, "imagebuilder"), defaults.image)
    of = {kind: [entry for entry in entries if entry.kind == kind] for kind in PLUGINS}
    devices = tuple(_device(entry, defaults, identity) for entry in of["local_loop"])
    partitions = [entry for entry in entries if entry.kind == "partition"]
    disk = Disk(
        devices=devices,
        partitionings=tuple(_partitioning(entry, partitions) for entry in of["partitioning"]),
        filesystems=tuple(
            _filesystem(entry, of["mount"], of["fstab"], identity) for entry in of["mkfs"]
        ),
    )
    _check_labels(of["mkfs"], disk)
    _check_mounts(of["mount"])
    if not disk.mounted or disk.root.mount_point != "/":
        raise ConfigError("nothing is mounted at /", where=document.where)
    return disk


def _expanded(document: schema.Document) -> Iterator[Entry]:
    if not isinstance(document.value, list):
        raise ConfigError("Config should be a list of plugins", where=document.place(()))
    for index, item in enumerate(document.value):
        if not isinstance(item, dict) or len(item) != 1:
            raise ConfigError(
                f"Config entry top-level should be a single dict: {item}",
                where=document.place((index,)),
            )
        kind = next(iter(item))
        if kind not in PLUGINS and kind != "lvm":
            raise ConfigError(
                f"Config entry is not a plugin value: {kind}",
                where=document.place((index,)),
                hint=nearest(str(kind), PLUGINS) or f"plugins: {', '.join(PLUGINS)}",
            )
        yield from _flat(Entry(document.where, item[kind], document.node, kind, (index, kind)))


def _flat(entry: Entry, base: str = "") -> Iterator[Entry]:
    """The entry without what is nested in it, then what is nested in it, based on it."""
    if entry.kind == "lvm":
        raise entry.fail(
            "not supported here yet: LVM needs device-mapper",
            hint="use partitions, or filesystems on several local_loop devices",
        )
    if not isinstance(entry.value, Mapping):
        raise entry.fail(f"{entry.kind} should be a mapping, not {entry.value!r}")
    own = _own(entry, base)
    yield own
    if entry.kind == "partitioning":
        yield from _flat_partitions(own)
    for key, value in entry.value.items():
        if key in {*PLUGINS, "lvm"}:
            path = (*entry.path, key)
            nested = Entry(entry.where, value, entry.node, key, path)
            yield from _flat(nested, str(own.value.get("name", "")))


def _flat_partitions(table: Entry) -> Iterator[Entry]:
    partitions = table.value.get("partitions")
    for index, value in enumerate(partitions if isinstance(partitions, list) else ()):
        path = (*table.path, "partitions", index)
        part = Entry(table.where, value, table.node, "partition", path)
        yield from _flat(part, table.base)


def _own(entry: Entry, base: str) -> Entry:
    value = {key: entry.value[key] for key in entry.value if key not in PLUGINS}
    if base:
        value.setdefault("base", base)
    if "base" in value and entry.kind != "partition":
        value.setdefault("name", f"{entry.kind}_{value['base']}")
    return Entry(entry.where, value, entry.node, entry.kind, entry.path)


def _with_root(entry: Entry, defaults: Defaults) -> Entry:
    """The entry; with what the command line says, if it is the root filesystem."""
    if entry.kind != "mkfs" or entry.value.get("name") != ROOT:
        return entry
    kind = entry.value.get("type", defaults.root_type)
    label = defaults.root_label or ("img-rootfs" if kind == "xfs" else "cloudimg-rootfs")
    value = {"type": kind, "label": label, **entry.value}
    if kind == defaults.root_type and defaults.root_options:
        value["opts"] = " ".join((str(value.get("opts", "")), *defaults.root_options)).strip()
    return Entry(entry.where, value, entry.node, entry.kind, entry.path)


def _check_graph(entries: Sequence[Entry]) -> None:
    graph.build(
        graph.Node(
            name=entry.name,
            kind=NODE_KINDS.get(entry.kind, entry.kind),
            base=entry.base,
            where=entry.place(),
        )
        for entry in entries
        if entry.kind != "partitioning"
    )


BASES = {
    "partitioning": ("local_loop",),
    "partition": ("local_loop",),
    "mkfs": ("local_loop", "partition"),
    "mount": ("mkfs",),
    "fstab": ("mount",),
}


def _check_bases(entries: Sequence[Entry]) -> None:
    """Everything lies on something it can lie on, and has it to itself."""
    kinds = {entry.name: entry.kind for entry in entries if entry.kind != "partitioning"}
    taken: dict[str, str] = {}
    for entry in entries:
        if entry.kind not in BASES:
            continue
        kind = kinds.get(entry.base, "nothing")
        if kind not in BASES[entry.kind]:
            raise entry.fail(
                f"{entry.kind} cannot lie on {entry.base!r}, which is {kind}",
                "base",
                hint=f"its base is a {' or a '.join(BASES[entry.kind])}",
            )
        if entry.kind != "partition" and taken.setdefault(entry.base, entry.name) != entry.name:
            raise entry.fail(f"{entry.base!r} is already used by {taken[entry.base]!r}", "base")


def _device(entry: Entry, defaults: Defaults, identity: UUID) -> Device:
    return Device(
        name=entry.name,
        size=_size(entry, "size") if "size" in entry.value else None,
        sector=defaults.sector or entry.value.get("block_size", 512),
        uuid=uuid5(identity, entry.name),
    )


def _partitioning(entry: Entry, partitions: Sequence[Entry]) -> Partitioning:
    label = Table(entry.value["label"])
    align = _size(entry, "align") if "align" in entry.value else Size(2**20)
    if not align or align % 4096:
        raise entry.fail(f"align is {align}", "align", hint="use a multiple of 4 KiB")
    mine = [part for part in partitions if part.path[: len(entry.path)] == entry.path]
    return Partitioning(
        name=entry.name,
        base=entry.base,
        label=label,
        align=align,
        partitions=tuple(_partition(part, label) for part in mine),
    )


def _partition(entry: Entry, label: Table) -> Partition:
    flags = entry.value.get("flags", ())
    if "primary" in flags and label is Table.GPT:
        raise entry.fail("a GPT partition cannot have the flag 'primary'", "flags")
    percent = _percent(entry)
    return Partition(
        name=entry.name,
        base=entry.base,
        size=None if percent is not None else _size(entry, "size"),
        percent=percent,
        type=_type(entry, label),
        boot="boot" in flags and label is Table.MBR,
        primary="primary" in flags,
        number=entry.value.get("number"),
    )


def _type(entry: Entry, label: Table) -> str:
    if "type" not in entry.value:
        return "8300" if label is Table.GPT else "83"
    text = entry.written("type")
    try:
        if label is Table.MBR:
            return f"{mbr.type_byte(text):02x}"
        gpt.type_guid(text)
    except ConfigError as error:
        raise entry.fail(error.what, "type", hint=error.hint) from error
    return text


def _percent(entry: Entry) -> float | None:
    text = str(entry.value["size"]).strip()
    if not text.endswith("%"):
        return None
    try:
        percent = float(text[:-1])
    except ValueError as error:
        raise entry.fail(f"not a percentage: {text!r}", "size") from error
    if not 0 < percent <= 100:
        raise entry.fail(f"{text} is not between 0% and 100%", "size")
    return percent


def _size(entry: Entry, key: str) -> Size:
    size = Size.parse(str(entry.value[key]), where=entry.place((key,)))
    if not size:
        raise entry.fail("a size of nothing", key)
    return size


def _filesystem(
    entry: Entry, mounts: Iterable[Entry], lines: Iterable[Entry], identity: UUID
) -> Filesystem:
    kind = entry.value["type"]
    label = str(entry.value.get("label", entry.name))
    mount = next((mount for mount in mounts if mount.base == entry.name), None)
    line = next((line for line in lines if mount and line.base == mount.name), None)
    about: Mapping[str, Any] = line.value if line else {}
    return Filesystem(
        name=entry.name,
        base=entry.base,
        type="vfat" if kind == "fat" else kind,
        label=label.upper() if kind in {"vfat", "fat"} else label,
        uuid=_uuid(entry, identity),
        options=tuple(entry.value.get("opts", "").split()),
        mount_point=_mount_point(mount, kind),
        mount_options=about.get("options", "defaults"),
        dump=about.get("dump-freq", 0),
        passno=about.get("fsck-passno", 2),
        in_fstab=line is not None,
    )


def _mount_point(mount: Entry | None, kind: str) -> str:
    if mount is None:
        return ""
    point = str(mount.value["mount_point"])
    if (kind == "swap") != (point == "none"):
        raise mount.fail(
            f"{kind} cannot be mounted at {point}",
            "mount_point",
            hint="swap, and nothing else, has the mount point none",
        )
    return _normal(point)


def _normal(point: str) -> str:
    return point if point == "none" else "/" + posixpath.normpath(point).strip("/")


def _uuid(entry: Entry, identity: UUID) -> UUID:
    """The uuid asked for (for vfat also a volume id like `1234-ABCD`), or a derived one."""
    text = entry.value.get("uuid")
    if text is None:
        return uuid5(identity, entry.name)
    short = text.replace("-", "")
    try:
        return UUID(int=int(short, 16)) if len(short) == 8 else UUID(text)
    except ValueError as error:
        raise entry.fail(f"not a UUID: {text!r}", "uuid") from error


def _check_labels(entries: Sequence[Entry], disk: Disk) -> None:
    seen: set[str] = set()
    for entry, filesystem in zip(entries, disk.filesystems, strict=True):
        label = filesystem.label
        longest = LABEL_LENGTHS.get(filesystem.type)
        if longest is not None and len(label.encode()) > longest:
            raise entry.fail(
                f"Label [{label}] too long for filesystem [{filesystem.type}]: at most {longest}",
                "label",
            )
        if label in seen:
            raise entry.fail(f"File system label [{label}] used more than once", "label")
        seen.add(label)


def _check_mounts(mounts: Iterable[Entry]) -> None:
    seen: set[str] = set()
    for mount in mounts:
        point = mount.value["mount_point"]
        if _normal(point) in seen and point != "none":
            raise mount.fail(f"Mount point [{point}] specified more than once", "mount_point")
        seen.add(_normal(point))


def _below(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step]  # type: ignore[no-any-return]
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None

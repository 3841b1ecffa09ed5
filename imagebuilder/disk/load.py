"""The block-device document (diskimage-builder's, tree or graph notation) becomes a `Disk`."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from imagebuilder import schema
from imagebuilder.disk import gpt, graph, load_lvm, mbr
from imagebuilder.disk.entry import PLUGINS, Entry, expand
from imagebuilder.disk.model import (
    Defaults,
    Device,
    Disk,
    Filesystem,
    Partition,
    Partitioning,
    Table,
)
from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size

NODE_KINDS = {"local_loop": "device"}
LABEL_LENGTHS = {"ext2": 16, "ext3": 16, "ext4": 16, "swap": 16, "xfs": 12, "vfat": 11, "fat": 11}
ROOT = "mkfs_root"  # the one filesystem that the command line's options are about


def load(document: schema.Document, defaults: Defaults) -> Disk:
    """The disk that `document` asks for; raise ConfigError with the place of what is wrong."""
    if document.lenient:
        try:
            return _load(document, defaults)
        except ConfigError:  # a key that means nothing may be why
            document = replace(document, lenient=False)
    return _load(document, defaults)


def _load(document: schema.Document, defaults: Defaults) -> Disk:
    entries = entries_of(document, defaults)
    for entry in entries:
        load_lvm.check(entry)
        (schema.tolerate if document.lenient else schema.check)(entry, _schema(entry))
    load_lvm.check_references(entries)
    _check_graph(entries)
    _check_bases(entries)
    identity = uuid5(uuid5(NAMESPACE_DNS, "imagebuilder"), _text(defaults.image))
    of = {kind: [entry for entry in entries if entry.kind == kind] for kind in PLUGINS}
    devices = tuple(_device(entry, defaults, identity) for entry in of["local_loop"])
    partitions = [entry for entry in entries if entry.kind == "partition"]
    disk = Disk(
        devices=devices,
        partitionings=tuple(_partitioning(entry, partitions) for entry in of["partitioning"]),
        filesystems=tuple(
            _filesystem(entry, of["mount"], of["fstab"], identity) for entry in of["mkfs"]
        ),
        **load_lvm.load(entries, identity),
    )
    _check_labels(of["mkfs"], disk)
    _check_mounts(of["mount"])
    if not disk.mounted or disk.root.mount_point != "/":
        raise ConfigError("nothing is mounted at /", where=document.where)
    return disk


def remarks(document: schema.Document, defaults: Defaults) -> tuple[str, ...]:
    """What is passed over in a lenient document that can be loaded, a line each."""
    entries = entries_of(document, defaults) if document.lenient else ()
    unknown = (line for entry in entries for line in schema.tolerate(entry, _schema(entry))[1])
    return (*document.repeated, *unknown)


def _schema(entry: Entry) -> str:
    return f"disk/schemas/{entry.kind}.json"


def _text(name: str) -> str:
    """The name of a file, which may be any bytes, as characters that can be encoded."""
    return os.fsencode(name).decode(errors="backslashreplace")


def entries_of(document: schema.Document, defaults: Defaults) -> tuple[Entry, ...]:
    """The document's entries, with what the command line says about the root filesystem."""
    return tuple(_with_root(entry, defaults) for entry in expand(document))


def _with_root(entry: Entry, defaults: Defaults) -> Entry:
    """The entry; with what the command line says, if it is the root filesystem."""
    if entry.kind != "mkfs" or entry.value.get("name") != ROOT:
        return entry
    kind = entry.value.get("type", defaults.root_type)
    label = defaults.root_label or ("img-rootfs" if kind == "xfs" else "cloudimg-rootfs")
    value = {"type": kind, "label": label, **entry.value}
    if kind == defaults.root_type and defaults.root_options:
        value.setdefault("opts", " ".join(defaults.root_options))
    return Entry(entry.where, value, entry.node, entry.kind, entry.path)


def _check_graph(entries: Sequence[Entry]) -> None:
    graph.build(
        graph.Node(
            name=entry.name,
            kind=NODE_KINDS.get(entry.kind, entry.kind),
            bases=() if entry.kind == "lvm" else entry.bases,
            where=entry.place(),
        )
        for entry in entries
        if entry.kind != "partitioning"
    )


BASES = {
    "partitioning": ("local_loop",),
    "partition": ("local_loop",),
    "pv": ("local_loop", "partition"),
    "mkfs": ("local_loop", "partition", "lv"),
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
        size=entry.size("size") if "size" in entry.value else None,
        sector=defaults.sector or entry.value.get("block_size", 512),
        uuid=entry.uuid(identity),
    )


def _partitioning(entry: Entry, partitions: Sequence[Entry]) -> Partitioning:
    label = Table(entry.value["label"])
    align = entry.size("align") if "align" in entry.value else Size(2**20)
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
        raise entry.fail("Primary flag not supported for GPT partitions", "flags")
    percent = _percent(entry)
    return Partition(
        name=entry.name,
        base=entry.base,
        size=None if percent is not None else entry.size("size"),
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
        return entry.uuid(identity)
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
                f"Label [{label}] too long for filesystem [{filesystem.type}]:"
                f" {len(label.encode())} > {longest}",
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

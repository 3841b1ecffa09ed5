"""What rests on what on a disk, so that nothing is made before the thing it lies on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagebuilder.disk.model import Disk, Filesystem, Kind, LogicalVolume, Partition
from imagebuilder.errors import ConfigError, nearest

if TYPE_CHECKING:
    import networkx

    Graph = networkx.DiGraph[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing on the disk; `bases` are the names of what it rests on, none for a device."""

    name: str
    kind: str  # device, partition, pv, vg, lv, mkfs, mount or fstab
    bases: tuple[str, ...] = ()
    text: str = ""
    where: str = ""


def build(nodes: Iterable[Node]) -> Graph:
    """The graph of `nodes`; raise ConfigError for a name used twice, a missing base or a circle."""
    import networkx

    made: Graph = networkx.DiGraph()
    listed = tuple(nodes)
    for node in listed:
        if node.name in made:
            raise ConfigError(f"Duplicate node name: {node.name}", where=node.where)
        made.add_node(node.name, kind=node.kind, text=node.text)
    for node in listed:
        _join(made, node)
    for node in listed:
        if any(networkx.has_path(made, node.name, base) for base in node.bases):
            raise ConfigError(f"{node.name} rests on itself", where=node.where)
    return made


def graph(disk: Disk) -> Graph:
    """Devices, partitions, filesystems, mounts and fstab lines, each below what it rests on."""
    return build(_nodes(disk))


def order(made: Graph) -> tuple[str, ...]:
    """The names, each after the one it rests on, and otherwise sorted."""
    import networkx

    return tuple(networkx.lexicographical_topological_sort(made))


def _join(made: Graph, node: Node) -> None:
    for base in node.bases:
        if base not in made:
            raise ConfigError(
                f"Edge not defined: {base}->{node.name}",
                where=node.where,
                hint=nearest(base, made),
            )
        made.add_edge(base, node.name)


def _nodes(disk: Disk) -> Iterator[Node]:
    for device in disk.devices:
        sectors = f"sectors of {device.sector} bytes"
        text = f"{device.size}, {sectors}" if device.size else sectors
        yield Node(name=device.name, kind="device", text=text)
    for table in disk.partitionings:
        for part in table.partitions:
            text = f"{table.label.value} {_wish(part)} {part.type}".rstrip()
            yield Node(name=part.name, kind="partition", bases=(part.base,), text=text)
    yield from _volume_nodes(disk)
    for filesystem in disk.filesystems:
        yield from _filesystem_nodes(filesystem)


def _volume_nodes(disk: Disk) -> Iterator[Node]:
    for pv in disk.physical_volumes:
        yield Node(name=pv.name, kind="pv", bases=(pv.base,))
    for group in disk.groups:
        yield Node(name=group.name, kind="vg", bases=group.bases, text=f"{group.extent} extents")
    for volume in disk.volumes:
        base = volume.pool or volume.group
        yield Node(name=volume.name, kind="lv", bases=(base,), text=volume_text(volume))


def volume_text(volume: LogicalVolume) -> str:
    """What was asked for, in a few words."""
    wish = f"{volume.percent:g}%{volume.of.value}" if volume.percent is not None else ""
    count = f"{volume.extents} extents" if volume.extents is not None else ""
    size = str(volume.size) if volume.size is not None else ""
    kind = "" if volume.kind is Kind.LINEAR else f" {volume.kind.value}"
    return f"{size or count or wish}{kind}"


def _filesystem_nodes(fs: Filesystem) -> Iterator[Node]:
    yield Node(name=fs.name, kind="mkfs", bases=(fs.base,), text=f"{fs.type} {fs.label}")
    if not fs.mount_point:
        return
    mount = f"mount_{fs.name}"
    yield Node(name=mount, kind="mount", bases=(fs.name,), text=fs.mount_point)
    if fs.in_fstab:
        yield Node(name=f"fstab_{mount}", kind="fstab", bases=(mount,), text=fs.mount_options)


def _wish(partition: Partition) -> str:
    return str(partition.size) if partition.percent is None else f"{partition.percent:g}%"

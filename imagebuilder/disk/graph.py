"""What rests on what on a disk, so that nothing is made before the thing it lies on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagebuilder.disk.model import Disk, Filesystem, Partition
from imagebuilder.errors import ConfigError, nearest

if TYPE_CHECKING:
    import networkx

    Graph = networkx.DiGraph[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing on the disk; `base` is the name of what it rests on, empty for a device."""

    name: str
    kind: str  # device, partition, mkfs, mount or fstab
    base: str = ""
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
        if node.base and networkx.has_path(made, node.name, node.base):
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
    if not node.base:
        return
    if node.base not in made:
        raise ConfigError(
            f"Edge not defined: {node.base}->{node.name}",
            where=node.where,
            hint=nearest(node.base, made),
        )
    made.add_edge(node.base, node.name)


def _nodes(disk: Disk) -> Iterator[Node]:
    for device in disk.devices:
        sectors = f"sectors of {device.sector} bytes"
        text = f"{device.size}, {sectors}" if device.size else sectors
        yield Node(name=device.name, kind="device", text=text)
    for table in disk.partitionings:
        for part in table.partitions:
            text = f"{table.label.value} {_wish(part)} {part.type}".rstrip()
            yield Node(name=part.name, kind="partition", base=part.base, text=text)
    for filesystem in disk.filesystems:
        yield from _filesystem_nodes(filesystem)


def _filesystem_nodes(fs: Filesystem) -> Iterator[Node]:
    yield Node(name=fs.name, kind="mkfs", base=fs.base, text=f"{fs.type} {fs.label}")
    if not fs.mount_point:
        return
    mount = f"mount_{fs.name}"
    yield Node(name=mount, kind="mount", base=fs.name, text=fs.mount_point)
    if fs.in_fstab:
        yield Node(name=f"fstab_{mount}", kind="fstab", base=mount, text=fs.mount_options)


def _wish(partition: Partition) -> str:
    return str(partition.size) if partition.percent is None else f"{partition.percent:g}%"

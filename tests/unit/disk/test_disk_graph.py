from uuid import UUID

import pytest

from imagebuilder.disk import graph
from imagebuilder.disk.fstab import fields, fstab
from imagebuilder.disk.graph import Node
from imagebuilder.disk.model import Device, Disk, Filesystem, Partition, Partitioning, Table
from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size


def filesystem(name: str, base: str, point: str, **more: object) -> Filesystem:
    known: dict[str, object] = {
        "type": "ext4", "label": name, "uuid": UUID(int=1), "mount_point": point, "in_fstab": True,
    }  # fmt: skip
    return Filesystem(name=name, base=base, **(known | more))  # type: ignore[arg-type]


DISK = Disk(
    devices=(Device(name="image0", size=Size(2**30)), Device(name="image1")),
    partitionings=(
        Partitioning(
            name="table",
            base="image0",
            label=Table.GPT,
            align=Size(2**20),
            partitions=(
                Partition(name="p1", base="image0", size=Size(2**20), type="EF02"),
                Partition(name="p2", base="image0", percent=50),
                Partition(name="p3", base="image0", percent=100),
            ),
        ),
    ),
    filesystems=(
        filesystem("swap one", "p3", "none", type="swap", passno=7),
        filesystem("data", "image1", "/var/my data", mount_options="noatime", dump=1),
        filesystem("hidden", "p1", "/hidden", in_fstab=False),
        filesystem("root", "p2", "/", passno=1),
    ),
)


def test_everything_comes_after_what_it_rests_on() -> None:
    made = graph.graph(DISK)
    order = graph.order(made)
    assert sorted(order) == sorted(made)
    assert len(order) == 16
    assert all(order.index(below) < order.index(above) for below, above in made.edges)


def test_the_order_is_the_same_however_nodes_are_listed() -> None:
    nodes = [Node(name=name, kind="device") for name in "cab"]
    assert graph.order(graph.build(nodes)) == graph.order(graph.build(nodes[::-1])) == tuple("abc")


def test_nodes_say_what_they_are() -> None:
    nodes = graph.graph(DISK).nodes
    assert nodes["image0"] == {"kind": "device", "text": "1 GiB, sectors of 512 bytes"}
    assert nodes["p1"] == {"kind": "partition", "text": "gpt 1 MiB EF02"}
    assert nodes["p2"] == {"kind": "partition", "text": "gpt 50%"}
    assert nodes["root"] == {"kind": "mkfs", "text": "ext4 root"}
    assert nodes["mount_root"] == {"kind": "mount", "text": "/"}
    assert nodes["fstab_mount_root"] == {"kind": "fstab", "text": "defaults"}


def test_a_circle_is_refused() -> None:
    circle = [
        Node(name="a", kind="x", bases=("b",), where="here"),
        Node(name="b", kind="x", bases=("a",)),
    ]
    with pytest.raises(ConfigError, match="here: a rests on itself"):
        graph.build(circle)


def test_a_missing_base_is_named_with_one_that_may_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"Edge not defined: imageO->x\n.*'image0'"):
        graph.build([
            Node(name="image0", kind="device"),
            Node(name="x", kind="y", bases=("imageO",)),
        ])


def test_fstab_lists_labels_in_the_order_of_mounting() -> None:
    assert [fields(fs) for fs in DISK.filesystems[:2]] == [("sw", 0, 0), ("noatime", 1, 2)]
    assert fstab(DISK) == (
        "LABEL=root / ext4 defaults 0 1\n"
        r"LABEL=data /var/my\040data ext4 noatime 1 2" + "\n"
        r"LABEL=swap\040one none swap sw 0 0" + "\n"
    )

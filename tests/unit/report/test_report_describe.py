"""Plans and layouts in the words of a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from imagebuilder.disk.model import Device, Filesystem, Layout, Piece, Placed, Slot, Table
from imagebuilder.element.model import Element, Hook, HooksTree
from imagebuilder.report.describe import layout_lines, parts
from imagebuilder.report.model import Part
from imagebuilder.sizes import Size

MIB = 2**20


def element(name: str, *depends: str, provides: tuple[str, ...] = ()) -> Element:
    return Element(name=name, path=Path("/e", name), depends=depends, provides=provides)


def hook(element: str) -> Hook:
    return Hook(phase="install", name="10-x", element=element, source=Path("/x"))


def filesystem(mount_point: str = "") -> Filesystem:
    return Filesystem(
        name="root",
        base="root",
        type="ext4",
        label="cloud",
        uuid=UUID(int=1),
        mount_point=mount_point,
    )


def test_elements_have_their_hooks_and_whether_they_were_asked_for() -> None:
    tree = HooksTree(hooks=(hook("vm"), hook("vm"), hook("base")))
    assert parts([element("base"), element("vm", "base")], tree, ("vm",)) == (
        Part(name="base", hooks=1),
        Part(name="vm", depends=("base",), hooks=2, asked=True),
    )


def test_a_dependency_that_is_provided_is_the_provider() -> None:
    chosen = [element("debian", provides=("operating-system",)), element("vm", "operating-system")]
    assert parts(chosen, HooksTree(), ())[1].depends == ("debian",)


def test_a_dependency_that_takes_no_part_and_oneself_are_left_out() -> None:
    chosen = [element("debian", "self", "nobody", provides=("self",))]
    assert parts(chosen, HooksTree(), ())[0].depends == ()


def test_volumes_are_listed_below_the_partitions() -> None:
    def placed(base: str, offset: int, **more: Any) -> Placed:
        fs = replace(filesystem("/"), base=base)
        return Placed(filesystem=fs, offset=Size(offset), size=Size(MIB), **more)

    pieces = (Piece(Size(2 * MIB), Size(MIB)), Piece(Size(9 * MIB), Size(MIB)))
    slot = Slot(name="pv", number=1, offset=Size(0), size=Size(9 * MIB), type="8E00")
    layout = Layout(
        device=Device(name="image0"),
        size=Size(10 * MIB),
        slots=(slot,),
        placed=(placed("a", MIB), placed("b", 0, pieces=pieces), placed("c", 0, pool="pool")),
    )
    assert layout_lines(layout)[1:] == (
        "  1  pv       at 0 B, 9 MiB; type 8E00",
        "  volume a at 1 MiB, 1 MiB; ext4 'cloud' on /",
        "  volume b at 2 MiB and 9 MiB, 1 MiB; ext4 'cloud' on /",
        "  volume c in pool pool, 1 MiB; ext4 'cloud' on /",
    )


def test_partitions_are_listed_in_the_order_they_lie() -> None:
    def slot(name: str, number: int, offset: int) -> Slot:
        return Slot(name=name, number=number, offset=Size(offset), size=Size(MIB), type="83")

    root = Placed(filesystem=filesystem(mount_point="/"), offset=Size(MIB), size=Size(MIB))
    layout = Layout(
        device=Device(name="image0"),
        size=Size(4 * MIB),
        table=Table.GPT,
        slots=(slot("late", 1, 2 * MIB), slot("root", 2, MIB)),
        placed=(root,),
    )
    assert layout_lines(layout) == (
        "image0: 4 MiB, gpt, 512-byte sectors",
        "  2  root     at 1 MiB, 1 MiB; type 83, ext4 'cloud' on /",
        "  1  late     at 2 MiB, 1 MiB; type 83",
    )


def test_a_device_without_a_table_shows_its_filesystem() -> None:
    placed = Placed(filesystem=filesystem(), offset=Size(0), size=Size(MIB))
    layout = Layout(device=Device(name="image0"), size=Size(MIB), placed=(placed,))
    assert layout_lines(layout) == ("image0: 1 MiB", "  ext4 'cloud'")

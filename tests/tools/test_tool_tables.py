"""Our tables against those that sfdisk and sgdisk write and read."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.disk import gpt
from imagebuilder.disk.layout import layout
from imagebuilder.disk.model import Device, Disk, Layout, Partition, Partitioning, Table
from imagebuilder.process import Command, find, run
from imagebuilder.sizes import Size

MIB = 2**20

pytestmark = pytest.mark.tools
needs_sfdisk = pytest.mark.skipif(find("sfdisk") is None, reason="needs sfdisk")
needs_sgdisk = pytest.mark.skipif(find("sgdisk") is None, reason="needs sgdisk")


def written(path: Path, label: Table, size: int, parts: list[Partition]) -> Layout:
    device = Device(name="image0", uuid=UUID("5e6d6c1f-0000-4000-8000-00001234abcd"))
    table = Partitioning(
        name="t", base="image0", label=label, align=Size(MIB), partitions=tuple(parts)
    )
    made = layout(Disk(devices=(device,), partitionings=(table,)), device, Size(size), {})
    with path.open("wb") as file:
        file.truncate(made.size)
        for offset, piece in made.pieces:
            file.seek(offset)
            file.write(piece)
    return made


def part(
    name: str, size: int, kind: str, *, primary: bool = False, boot: bool = False
) -> Partition:
    return Partition(
        name=name, base="image0", size=Size(size), type=kind, primary=primary, boot=boot
    )


def output(*argv: str | Path, stdin: str = "") -> str:
    command = Command(tuple(str(word) for word in argv), stdin=stdin.encode())
    return run(command).output


@needs_sfdisk
@pytest.mark.parametrize("size", [64 * MIB, 20_000 * MIB])
def test_sfdisk_writes_the_same_mbr_with_logical_partitions(tmp_path: Path, size: int) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    made = written(
        ours,
        Table.MBR,
        size,
        [
            part("a", 3 * MIB, "83", primary=True, boot=True),
            part("b", size // 2, "82"),
            part("c", 5 * MIB + 512, "fd"),
            part("d", MIB, "83"),
        ],
    )
    lines = [
        f"{slot.number}: start={slot.offset // 512}, size={slot.size // 512}, type={slot.type}"
        f"{', bootable' if slot.boot else ''}\n"
        for slot in made.slots
    ]
    start = made.slots[1].offset // 512 - 2048
    extended = f"2: start={start}, size={size // 512 - start}, type=f\n"
    with theirs.open("wb") as file:
        file.truncate(size)
    script = "label: dos\nlabel-id: 0x1234abcd\n" + lines[0] + extended + "".join(lines[1:])
    output("sfdisk", "--no-reread", "--no-tell-kernel", "-q", theirs, stdin=script)
    for offset, piece in made.pieces:
        with theirs.open("rb") as file:
            file.seek(offset)
            assert file.read(len(piece)).hex(" ", 4) == piece.hex(" ", 4)
    assert "No errors detected" in output("sfdisk", "--verify", ours)


@needs_sfdisk
def test_sfdisk_writes_the_same_gpt(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    made = written(
        ours,
        Table.GPT,
        256 * MIB,
        [part("ESP", 64 * MIB, "EF00"), part("BSP", 8 * MIB, "EF02"), part("rööt", MIB, "8300")],
    )
    script = "label: gpt\nfirst-lba: 34\nlabel-id: 5e6d6c1f-0000-4000-8000-00001234abcd\n"
    script += "".join(
        f'{slot.number}: start={slot.offset // 512}, size={slot.size // 512}, name="{slot.name}",'
        f" type={gpt.type_guid(slot.type)}, uuid={slot.uuid}\n"
        for slot in made.slots
    )
    with theirs.open("wb") as file:
        file.truncate(made.size)
    output("sfdisk", "--no-reread", "--no-tell-kernel", "-q", theirs, stdin=script)
    assert ours.read_bytes() == theirs.read_bytes()


@needs_sgdisk
def test_sgdisk_finds_no_problem_in_our_gpt(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    written(path, Table.GPT, 256 * MIB, [part("a", 64 * MIB, "EF00"), part("b", MIB, "8300")])
    assert "No problems found" in output("sgdisk", "-v", path)


@needs_sgdisk
def test_our_codes_are_those_of_sgdisk(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    codes = list(gpt.TYPES)
    written(path, Table.GPT, 256 * MIB, [part(code, MIB, code) for code in codes])
    listed = re.findall(
        r"^ +\d+ +\d+ +\d+ +\S+ \S+ +(\w{4})  (\w{4})$", output("sgdisk", "-p", path), re.M
    )
    assert listed == [(code, code) for code in codes]

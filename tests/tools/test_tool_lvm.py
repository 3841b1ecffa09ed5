"""Volume groups that we write, read by LVM's own programs and by those of thin pools."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imagebuilder import schema
from imagebuilder.build import apart
from imagebuilder.disk.image import Image
from imagebuilder.disk.layout import layout, smallest
from imagebuilder.disk.load import load
from imagebuilder.disk.model import Defaults, Disk, Layout, Placed
from imagebuilder.errors import SpaceError
from imagebuilder.filesystems import ext, mounted
from imagebuilder.formats import assembled
from imagebuilder.process import Command, find, run
from imagebuilder.sandbox import loops
from imagebuilder.sizes import Size
from tests.tools.trees import MIB

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        os.geteuid() != 0 or find("lvm") is None, reason="needs lvm2, and root for loop devices"
    ),
    pytest.mark.skipif(bool(mounted.obstacle("ext4")), reason=mounted.obstacle("ext4") or "mounts"),
]
needs_thin = pytest.mark.skipif(
    find("thin_restore") is None, reason="needs thin-provisioning-tools"
)
DOCUMENT = """\
- local_loop: {name: image0, size: 700MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: p1, size: 250MiB, type: 8E00}
      - {name: p2, size: 100%, type: 8E00}
- lvm:
    name: lvm
    pvs:
      - {name: pv1, base: p1, options: [--force]}
      - {name: pv2, base: p2, options: [--dataalignment, 2m]}
    vgs:
      - {name: vg-x, base: [pv1, pv2], options: [--force, --addtag, mine]}
    lvs:
      - {name: lv_root, base: vg-x, size: 48MiB}
      - {name: part, base: vg-x, extents: 20%VG}
      - {name: wide, base: vg-x, extents: 95%FREE}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /}}
- mkfs: {base: part, type: ext4, mount: {mount_point: /p}}
- mkfs: {base: wide, type: ext4, mount: {mount_point: /w}}
"""
THIN = """\
- local_loop: {name: image0, size: 400MiB}
- lvm:
    name: lvm
    pvs: [{name: pv, base: image0}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: lv_root, base: vg, size: 48MiB}
      - {name: pool, base: vg, type: thin-pool, extents: 50%FREE}
      - {name: one, base: vg, type: thin, thin-pool: pool, size: 150MiB}
      - {name: two, base: vg, type: thin, thin-pool: pool, size: 120MiB}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /}}
- mkfs: {base: one, type: ext4, mount: {mount_point: /one}}
- mkfs: {base: two, type: ext4, mount: {mount_point: /two}}
"""


@dataclass
class Group:
    """A poured disk, and the environment in which LVM sees its physical volumes alone."""

    disk: Disk
    layout: Layout
    image: Path
    files: dict[str, Path]
    devices: list[Path]
    environment: dict[str, str]

    def lvm(self, *words: str) -> str:
        return run(Command(("lvm", *words), env=self.environment)).output

    def report(self, program: str, *columns: str) -> list[dict[str, str]]:
        words = ("--all", "--reportformat", "json", "--units", "b", "--options", ",".join(columns))
        output = self.lvm(program, *words)
        found = json.loads(output[output.index("{") :])
        return [row for part in found["report"] for rows in part.values() for row in rows]


def poured(text: str, directory: Path, tree: Path) -> tuple[Disk, Layout, Path, dict[str, Path]]:
    """What a build writes, with `tree` in every filesystem, and each thin volume's own file."""
    disk = load(schema.parse(text, where="test"), Defaults(image="web"))
    size = disk.devices[0].size
    assert size is not None
    found = layout(disk, disk.devices[0], size, {})
    image, files = directory / "image", {}
    with image.open("wb") as file:
        file.truncate(found.size)
    for placed in found.placed:
        target = directory / placed.filesystem.name if placed.apart else image
        if placed.apart:
            with target.open("wb") as file:
                file.truncate(placed.size)
        elsewhere = ext.make(placed, tree, target, run)
        assembled.whole(Image(file=target, borrowed=tuple(sorted(elsewhere))))
        if placed.pieces:
            apart.scatter(target, placed.pieces, image)
        elif placed.pool:
            files[placed.filesystem.base] = target
    for pool in found.pools:
        apart.fill_pool(pool, files, image, run)
    with image.open("r+b") as file:
        for offset, piece in found.pieces:
            file.seek(offset)
            file.write(piece)
    return disk, found, image, files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    made.mkdir()
    for number in range(40):
        (made / str(number)).write_bytes(os.urandom(100_000))
    return made


def seen_by_lvm(text: str, directory: Path, tree: Path, stack: ExitStack) -> Group:
    disk, found, image, files = poured(text, directory, tree)
    parts = [(slot.offset, slot.size) for slot in found.slots] or [(Size(0), found.size)]
    devices = [
        stack.enter_context(loops.attached(loops.Part(file=image, offset=offset, size=size)))
        for offset, size in parts
    ]
    accepted = ", ".join(f'"a|^{device}$|"' for device in devices)
    (directory / "lvm").mkdir()
    (directory / "lvm" / "lvm.conf").write_text(
        f'devices {{ filter=[{accepted}, "r|.*|"] use_devicesfile=0 }}\n'
        f'global {{ activation=0 locking_dir="{directory}/lock" }}\n'
        f"backup {{ backup=0 archive=0 }}\n"
    )
    environment = {"LVM_SYSTEM_DIR": f"{directory}/lvm", "LVM_SUPPRESS_FD_WARNINGS": "1"}
    return Group(disk, found, image, files, devices, environment)


@pytest.fixture
def group(tmp_path: Path, tree: Path) -> Iterator[Group]:
    with ExitStack() as stack:
        yield seen_by_lvm(DOCUMENT, tmp_path, tree, stack)


@pytest.fixture
def thin(tmp_path: Path, tree: Path) -> Iterator[Group]:
    with ExitStack() as stack:
        yield seen_by_lvm(THIN, tmp_path, tree, stack)


def test_lvm_finds_what_was_asked_for(group: Group) -> None:
    assert group.report("vgs", "vg_name", "vg_extent_size", "vg_tags", "pv_count", "lv_count") == [
        {"vg_name": "vg-x", "vg_extent_size": "4194304B", "vg_tags": "mine", "pv_count": "2",
         "lv_count": "3"},
    ]  # fmt: skip
    starts = [row["pe_start"] for row in group.report("pvs", "pv_name", "pe_start")]
    assert starts == ["1048576B", "2097152B"]
    sizes = {row["lv_name"]: row["lv_size"] for row in group.report("lvs", "lv_name", "lv_size")}
    placed = {each.filesystem.base: f"{int(each.size)}B" for each in group.layout.placed}
    assert sizes == placed


def test_lvm_finds_the_volumes_where_they_were_poured(group: Group) -> None:
    """From its own words: the device and extent where each segment begins."""
    slots = {
        str(device): slot for device, slot in zip(group.devices, group.layout.slots, strict=True)
    }
    starts = {
        str(device): start for device, start in zip(group.devices, (MIB, 2 * MIB), strict=True)
    }
    found: dict[str, list[int]] = {}
    for row in group.report("lvs", "lv_name", "seg_start", "devices"):
        device, extent = re.fullmatch(r"(.*)\((\d+)\)", row["devices"]).groups()  # type: ignore[union-attr]
        offset = slots[device].offset + starts[device] + int(extent) * 4 * MIB
        found.setdefault(row["lv_name"], []).append(offset)
    expected = {
        each.filesystem.base: [piece.offset for piece in each.pieces] or [each.offset]
        for each in group.layout.placed
    }
    assert found == expected
    assert [len(pieces) for pieces in expected.values()] == [1, 1, 2]


def test_lvms_own_checks_find_nothing(group: Group) -> None:
    assert group.lvm("vgck", "vg-x").count("WARNING") == 1  # that activation is off
    for device in group.devices:
        output = group.lvm("pvck", "--dump", "headers", str(device))
        assert "label_header.type LVM2 001" in output
        assert output.count("WARNING") == 1, output
    saved = group.image.with_name("saved")
    group.lvm("vgcfgbackup", "--file", str(saved), "vg-x")
    words = ("vgcfgrestore", "--test", "--file", str(saved), "vg-x")
    assert "Restored volume group vg-x." in group.lvm(*words)


def test_lvm_can_go_on_working_with_the_group(group: Group) -> None:
    """It writes its metadata anew, and finds its own and ours in it."""
    group.lvm("lvrename", "vg-x", "part", "other")
    group.lvm("vgchange", "--addtag", "more", "vg-x")
    names = [row["lv_name"] for row in group.report("lvs", "lv_name")]
    assert sorted(names) == ["lv_root", "other", "wide"]
    assert group.lvm("vgck", "vg-x").count("WARNING") == 1


def test_filesystems_in_volumes_are_whole(group: Group) -> None:
    for placed in group.layout.placed:
        copy = group.image.with_name("copy")
        copy.write_bytes(content(group.image, placed))
        run(Command(("e2fsck", "-fn", str(copy))))


def content(image: Path, placed: Placed) -> bytes:
    with image.open("rb") as file:
        parts = [(piece.offset, piece.size) for piece in placed.pieces]
        return b"".join(
            os.pread(file.fileno(), size, offset)
            for offset, size in parts or [(placed.offset, placed.size)]
        )


@needs_thin
def test_lvm_finds_pool_and_thin_volumes(thin: Group) -> None:
    rows = thin.report("lvs", "lv_name", "lv_size", "pool_lv", "lv_attr", "chunk_size")
    found = {row["lv_name"]: row for row in rows}
    assert {name: row["lv_attr"][0] for name, row in found.items()} == {
        "[lvol0_pmspare]": "e", "[pool_tdata]": "T", "[pool_tmeta]": "e",
        "lv_root": "-", "one": "V", "pool": "t", "two": "V",
    }  # fmt: skip
    assert (found["one"]["pool_lv"], found["one"]["lv_size"]) == ("pool", f"{148 * MIB}B")
    assert found["pool"]["chunk_size"] == "65536B"
    assert thin.lvm("vgck", "vg").count("WARNING") == 1


@needs_thin
def test_the_pools_own_metadata_lead_to_every_byte(thin: Group) -> None:
    """Volumes put together again from what thin_dump says are the filesystems that were poured."""
    pool = thin.layout.pools[0]
    metadata = thin.image.with_name("metadata")
    with thin.image.open("rb") as file:
        data = b"".join(os.pread(file.fileno(), p.size, p.offset) for p in pool.data)
        metadata.write_bytes(
            b"".join(os.pread(file.fileno(), p.size, p.offset) for p in pool.metadata)
        )
    run(Command(("thin_check", str(metadata))))
    dumped = run(Command(("thin_dump", str(metadata)))).output
    chunk = int(pool.chunk)
    for (name, size), text in zip(pool.volumes, dumped.split("<device ")[1:], strict=True):
        volume = bytearray(size)
        for origin, start, count in mappings(text):
            volume[origin * chunk : (origin + count) * chunk] = data[
                start * chunk : (start + count) * chunk
            ]
        assert bytes(volume) == thin.files[name].read_bytes()
    assert f'transaction="{len(pool.volumes)}"' in dumped


def mappings(text: str) -> Iterator[tuple[int, int, int]]:
    for match in re.finditer(
        r'single_mapping origin_block="(\d+)" data_block="(\d+)"'
        r'|range_mapping origin_begin="(\d+)" data_begin="(\d+)" length="(\d+)"',
        text,
    ):
        one, other = match.group(1, 2), match.group(3, 4, 5)
        yield (int(one[0]), int(one[1]), 1) if one[0] else tuple(map(int, other))  # type: ignore[misc]


@needs_thin
def test_a_pool_too_small_for_its_volumes_is_an_error(tmp_path: Path) -> None:
    big = tmp_path / "tree"
    big.mkdir()
    (big / "file").write_bytes(os.urandom(90 * MIB))
    text = THIN.replace("size: 48MiB", "size: 108MiB")
    with pytest.raises(SpaceError, match=r"thin pool pool: .* are too few for what is in its"):
        poured(text, tmp_path, big)


@needs_thin
def test_equal_groups_are_equal_bytes(tmp_path: Path, tree: Path) -> None:
    for text in (DOCUMENT, THIN):
        images = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            images.append(poured(text, tmp_path / name, tree)[2].read_bytes())
        assert images[0] == images[1]


def test_the_smallest_disk_for_a_group_is_one_that_lvm_agrees_with(
    tmp_path: Path, tree: Path
) -> None:
    text = DOCUMENT.replace("95%FREE", "100%FREE").replace(", size: 700MiB", "")
    disk = load(schema.parse(text, where="test"), Defaults(image="web"))
    needed = {"mkfs_wide": Size(333 * MIB), "mkfs_root": Size(40 * MIB)}
    size = smallest(disk, disk.devices[0], needed)
    placed = {p.filesystem.name: p.size for p in layout(disk, disk.devices[0], size, needed).placed}
    assert 333 * MIB <= placed["mkfs_wide"] < 341 * MIB
    with pytest.raises(SpaceError):
        layout(disk, disk.devices[0], Size(size - 4 * MIB), needed)
    device = replace(disk.devices[0], size=size)
    text = text.replace("{name: image0}", f"{{name: image0, size: {int(device.size or 0)}}}")
    with ExitStack() as stack:
        seen = seen_by_lvm(text, tmp_path, tree, stack)
        assert {row["vg_free_count"] for row in seen.report("vgs", "vg_free_count")} == {"0"}


def test_what_is_between_is_not_touched(group: Group) -> None:
    """A hole before the first volume: label, metadata, and nothing else."""
    slot = group.layout.slots[0]
    with group.image.open("rb") as file:
        start = os.pread(file.fileno(), MIB, slot.offset)
    assert start[:512] == bytes(512)
    assert start[512:520] == b"LABELONE"
    assert start[64 * 1024 :] == bytes(MIB - 64 * 1024)

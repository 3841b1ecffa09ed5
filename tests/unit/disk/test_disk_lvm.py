"""LVM in block-device documents: what is read, who gets which extents, and which bytes follow."""

from __future__ import annotations

import re
import struct

import pytest

from imagebuilder import schema
from imagebuilder.disk import graph, lvm, volumes
from imagebuilder.disk.layout import Demand, image_size, layout, smallest
from imagebuilder.disk.load import load
from imagebuilder.disk.model import Defaults, Disk, Kind, Layout, Of
from imagebuilder.errors import ConfigError, SpaceError
from imagebuilder.sizes import Size

MIB = 2**20
TREE = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    name: mbr
    label: mbr
    partitions:
      - {name: root, base: image0, flags: [boot, primary], size: 3GiB}
- lvm:
    base: mbr
    pvs:
      - {name: pv, options: ["--force"], base: root}
    vgs:
      - {name: vg, base: [pv], options: ["--force"]}
    lvs:
      - {name: lv_root, base: vg, size: 1800M}
      - {name: lv_tmp, base: vg, extents: 25}
      - {name: lv_var, base: vg, extents: 20%VG}
      - {name: lv_home, base: vg, extents: 100%FREE}
- mkfs: {name: fs_root, base: lv_root, label: img-rootfs, type: ext4, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: ext4, mount: {mount_point: /var}}
"""
BUNDLED = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 550MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}}
      - {name: BSP, type: EF02, size: 8MiB}
      - {name: root, flags: [boot], size: 40G}
- lvm:
    name: lvm
    base: [root]
    pvs: [{name: pv, base: root, options: ["--force"]}]
    vgs: [{name: vg, base: ["pv"], options: ["--force"]}]
    lvs:
      - {name: lv_root, base: vg, extents: 23%VG}
      - {name: lv_var, base: vg, extents: 57%VG}
      - {name: lv_home, base: vg, extents: 20%VG}
- mkfs: {name: fs_root, base: lv_root, type: xfs, label: img-rootfs, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: xfs, mount: {mount_point: /var}}
- mkfs: {name: fs_home, base: lv_home, type: xfs, mount: {mount_point: /home}}
"""
SPANNED = """\
- local_loop: {name: image0, size: 400MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: a, size: 101MiB}
      - {name: b, size: 101MiB}
      - {name: c, size: 101MiB}
- lvm:
    name: lvm
    pvs: [{name: pv1, base: a}, {name: pv2, base: b}, {name: pv3, base: c}]
    vgs:
      - {name: one, base: [pv1, pv3]}
      - {name: two, base: pv2, options: ["--physicalextentsize=8m", --addtag, "@x"]}
    lvs:
      - {name: wide, base: one, size: 160MiB}
      - {name: rest, base: one, size: 20MiB, options: [--addtag, kept]}
      - {name: other, base: two, size: 20MiB}
- mkfs: {name: mkfs_root, base: wide, mount: {mount_point: /}}
"""
THIN = """\
- local_loop: {name: image0, size: 400MiB}
- lvm:
    name: lvm
    pvs: [{name: pv, base: image0}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: lv_root, base: vg, size: 48MiB}
      - {name: pool, base: vg, type: thin-pool, extents: 50%VG, options: [--chunksize, 128k]}
      - {name: one, base: vg, type: thin, thin-pool: pool, size: 150MiB}
      - {name: two, base: vg, type: thin, thin-pool: pool, extents: 30}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /}}
- mkfs: {base: one, type: ext4, mount: {mount_point: /one}}
- mkfs: {base: two, type: ext4, mount: {mount_point: /two}}
"""


def disk(text: str, **defaults: object) -> Disk:
    return load(schema.parse(text, where="b.yaml"), Defaults(image="web", **defaults))  # type: ignore[arg-type]


def laid_out(text: str, size: int = 0) -> Layout:
    made = disk(text)
    wanted = Size(size or made.devices[0].size or 0)
    return layout(made, made.devices[0], wanted, {})


def allotted(text: str, room: dict[str, int]) -> volumes.Allotted:
    made = disk(text)
    group = next(group for group in made.groups if set(group.bases) <= room.keys())
    return volumes.allot(made, group, room)


def test_everything_in_a_document_arrives() -> None:
    made = disk(TREE)
    assert [(pv.name, pv.base, pv.start) for pv in made.physical_volumes] == [("pv", "root", MIB)]
    assert [(g.name, g.bases, g.extent) for g in made.groups] == [("vg", ("pv",), 4 * MIB)]
    found = [(v.name, v.size, v.extents, v.percent) for v in made.volumes]
    assert found == [
        ("lv_root", 1800 * 10**6 // (4 * MIB) * 4 * MIB, None, None),
        ("lv_tmp", None, 25, None),
        ("lv_var", None, None, 20),
        ("lv_home", None, None, 100),
    ]
    assert [volume.of for volume in made.volumes[2:]] == [Of.GROUP, Of.FREE]


def test_the_document_of_diskimage_builders_own_element_is_understood() -> None:
    made = disk(BUNDLED)
    found = layout(made, made.devices[0], smallest(made, made.devices[0], {}), {})
    sizes = {each.filesystem.base: each.size for each in found.placed}
    extents = (40 * 10**9 - MIB) // (4 * MIB)
    assert sizes["lv_root"] == extents * 23 // 100 * 4 * MIB
    assert sizes["lv_var"] == extents * 57 // 100 * 4 * MIB
    assert sizes["lv_home"] == extents * 20 // 100 * 4 * MIB
    assert found.size < 41 * 10**9


def test_a_filesystem_can_be_written_inside_a_volume() -> None:
    text = TREE.replace(
        "extents: 25}", "extents: 25, mkfs: {type: swap, mount: {mount_point: none}}}"
    )
    swap = next(fs for fs in disk(text).filesystems if fs.type == "swap")
    assert (swap.name, swap.base) == ("mkfs_lv_tmp", "lv_tmp")


def test_the_graph_goes_from_partition_to_filesystem() -> None:
    made = graph.graph(disk(SPANNED))
    order = graph.order(made)
    for below, above in (("a", "pv1"), ("pv3", "one"), ("one", "wide"), ("wide", "mkfs_root")):
        assert (below, above) in made.edges
        assert order.index(below) < order.index(above)
    assert made.nodes["wide"]["text"] == "160 MiB"
    assert graph.volume_text(disk(THIN).volumes[1]) == "50%VG thin-pool"


def test_volumes_lie_together_if_they_can() -> None:
    found = allotted(SPANNED, {"pv1": 101 * MIB, "pv3": 101 * MIB})
    assert found.counts == {"pv1": 25, "pv3": 25}
    assert found.runs == {
        "wide": (volumes.Run("pv1", 0, 25), volumes.Run("pv3", 0, 15)),
        "rest": (volumes.Run("pv3", 15, 5),),
    }


def test_a_share_of_what_is_free_is_counted_when_its_turn_comes() -> None:
    found = allotted(TREE, {"pv": 3 * 2**30})
    counts = {name: sum(run.count for run in runs) for name, runs in found.runs.items()}
    assert counts == {"lv_root": 429, "lv_tmp": 25, "lv_var": 153, "lv_home": 767 - 429 - 25 - 153}


def test_a_pool_is_data_and_metadata_and_a_spare() -> None:
    found = allotted(THIN, {"pv": 400 * MIB})
    counts = {name: sum(run.count for run in runs) for name, runs in found.runs.items()}
    assert counts == {"lv_root": 12, "pool_tdata": 49, "pool_tmeta": 1, "lvol0_pmspare": 1}
    pools = laid_out(THIN).pools
    assert [(p.name, p.chunk, dict(p.volumes)) for p in pools] == [
        ("pool", 128 * 1024, {"one": 148 * MIB, "two": 120 * MIB})
    ]


def test_a_pool_that_takes_everything_leaves_room_for_its_metadata() -> None:
    text = THIN.replace("50%VG", "100%FREE")
    found = allotted(text, {"pv": 400 * MIB})
    assert sum(run.count for runs in found.runs.values() for run in runs) == 99
    assert found.size("pool_tdata") == (99 - 12 - 2) * 4 * MIB


@pytest.mark.parametrize(
    ("size", "chunk"), [(2**30, 64 * 1024), (2**37, 64 * 1024), (2**38, 128 * 1024)]
)
def test_large_pools_have_larger_chunks(size: int, chunk: int) -> None:
    pool = disk(THIN.replace(", options: [--chunksize, 128k]", "")).volumes[1]
    assert pool.kind is Kind.THIN_POOL
    assert volumes.chunk(pool, size) == chunk


def test_a_volume_in_one_piece_is_poured_in_its_place() -> None:
    found = laid_out(TREE, size=4 * 2**30)
    root, var = found.placed
    part = found.slots[0].offset
    assert (root.offset, root.pieces, root.apart) == (part + MIB, (), False)
    assert var.offset == part + MIB + (429 + 25) * 4 * MIB


def test_a_volume_in_two_pieces_knows_both() -> None:
    wide = laid_out(SPANNED).placed[0]
    a, _, c = (slot.offset for slot in laid_out(SPANNED).slots)
    assert [(piece.offset, piece.size) for piece in wide.pieces] == [
        (a + MIB, 100 * MIB), (c + MIB, 60 * MIB),
    ]  # fmt: skip
    assert (wide.apart, wide.size) == (True, 160 * MIB)


def test_the_root_volume_grows_with_what_is_in_it() -> None:
    text = TREE.replace("size: 3GiB", "size: 100%").replace("size: 1800M", "extents: 50%VG")
    made = disk(text)
    demand = Demand(needed={"fs_root": Size(600 * MIB)}, tree=600 * MIB)
    size = image_size(made, made.devices[0], demand)
    root = layout(made, made.devices[0], size, demand.needed).placed[0]
    assert 1000 * MIB <= root.size < 1010 * MIB
    assert 2000 * MIB <= size < 2100 * MIB


def test_a_volume_too_small_for_its_filesystem_is_named() -> None:
    made = disk(TREE)
    with pytest.raises(SpaceError) as caught:
        smallest(made, made.devices[0], {"fs_root": Size(2**31)})
    message = str(caught.value)
    assert message.startswith("volume group vg: logical volume 'lv_root' has 1.676 GiB, but its")
    assert "hint: give it a size of at least 2 GiB" in message


def test_a_group_too_small_for_its_volumes_says_what_is_missing() -> None:
    text = TREE.replace("size: 3GiB", "size: 1GiB")
    with pytest.raises(SpaceError, match=r"no room for logical volume 'lv_root' of 1.676 GiB"):
        laid_out(text, size=2**31)


def test_a_pool_too_small_for_what_is_needed_is_too_small() -> None:
    made = disk(THIN)
    with pytest.raises(SpaceError, match="the thin pool pool gets 196 MiB and needs 240 MiB"):
        layout(made, made.devices[0], Size(400 * MIB), {"mkfs_one": Size(140 * MIB),
                                                          "mkfs_two": Size(100 * MIB)})  # fmt: skip


# From a physical volume that LVM 2.03.16 made.
LABEL = bytes.fromhex(
    "20000000" "4c564d3220303031" "536d4c4b79586675426b426f6767386a4a725941656e36547751794170"
    "6b3237" "0000c01200000000" "0000100000000000" "0000000000000000" "0000000000000000"
    "0000000000000000" "0010000000000000" "00f00f0000000000" "0000000000000000"
    "0000000000000000" "02000000" "01000000"
)  # fmt: skip


def test_the_checksum_is_lvms() -> None:
    assert lvm.checksum(LABEL.ljust(492, b"\0")) == 0xC94E64E0


def test_labels_and_metadata_check_out() -> None:
    pieces = dict(laid_out(SPANNED).pieces)
    for slot in laid_out(SPANNED).slots:
        label, area = pieces[slot.offset + 512], pieces[slot.offset + 4096]
        magic, sector, crc = struct.unpack_from("<8sQI", label)
        assert (magic, sector) == (b"LABELONE", 1)
        assert crc == lvm.checksum(label[20:])
        assert struct.unpack_from("<I", area)[0] == lvm.checksum(area[4:512])
        offset, length, crc = struct.unpack_from("<QQI", area, 40)
        text = area[offset : offset + length]
        assert (len(text), crc) == (length, lvm.checksum(text))
        assert text.endswith(b"\n\0")


def test_ids_are_made_from_the_image_and_well_formed() -> None:
    made = disk(SPANNED)
    ids = [
        lvm.hyphened(each.uuid) for each in (*made.physical_volumes, *made.groups, *made.volumes)
    ]
    assert len({*ids}) == len(ids)
    assert all(re.fullmatch(r"\w{6}(-\w{4}){5}-\w{6}", each) for each in ids)
    assert dict(laid_out(SPANNED).pieces) == dict(laid_out(SPANNED).pieces)


def test_tags_and_extent_sizes_are_written() -> None:
    text = b"".join(piece for _, piece in laid_out(SPANNED).pieces)
    assert b'two {\nid = "' in text
    assert b'tags = ["x"]\nextent_size = 16384\n' in text
    assert b'tags = ["kept"]\nsegment_count = 1\n' in text


def test_too_many_volumes_for_the_metadata_area_are_refused() -> None:
    many = "".join(f"      - {{name: v{number}, base: vg, extents: 1}}\n" for number in range(3000))
    text = TREE.replace("size: 3GiB", "size: 100%").replace(
        "      - {name: lv_home, base: vg, extents: 100%FREE}\n", many
    )
    with pytest.raises(ConfigError, match="--dataalignment"):
        laid_out(text, size=2**34)


ERRORS = [
    (TREE.replace("    base: mbr\n", ""), "b.yaml:9:5: Lvm config requires 'name'"),
    ("- lvm: {name: x}\n", "b.yaml:1:8: Lvm config requires a 'pvs'"),
    ("- lvm: {name: x, pvs: []}\n", "Lvm config needs 'vgs'"),
    ("- lvm: {name: x, pvs: [], vgs: []}\n", "Lvm config needs 'lvs'"),
    (TREE.replace("name: pv, options", "options"), "b.yaml:11:9: Missing 'name' in pvs config"),
    (TREE.replace(", base: root}", "}"), "b.yaml:11:9: Missing 'base' in pvs_config"),
    (TREE.replace("name: vg, base: [pv],", "base: [pv],"), "Missing 'name' in vgs config"),
    (TREE.replace("base: [pv], ", ""), "Missing 'base' in vgs config"),
    (TREE.replace("name: lv_tmp, ", ""), "Missing 'name' in lvs config"),
    (TREE.replace("lv_tmp, base: vg,", "lv_tmp,"), "Missing 'base' in lvs config"),
    (TREE.replace("base: [pv]", "base: [pw]"), "base:pw in vgs does not match a valid pvs"),
    (
        TREE.replace("lv_tmp, base: vg", "lv_tmp, base: vh"),
        "base:vh in lvs does not match a valid vg",
    ),
    (TREE.replace(", extents: 25", ""), "b.yaml:16:9: Missing 'size' or 'extents' in lvs config"),
    (
        TREE.replace("extents: 25", "extents: 25, type: mirror"),
        "Unsupported type:mirror, supported types: thin, thin-pool",
    ),
    (TREE.replace("extents: 25", "extents: 0"), "b.yaml:16:43: not a number of extents: '0'"),
    (TREE.replace("extents: 25", "extents: 5%LV"), "not a number of extents: '5%LV'"),
    (TREE.replace("20%VG", "120%VG"), "120%VG is more than there is"),
    (TREE.replace("extents: 25", "size: 3MiB"), "b.yaml:16:40: a size of less than 4 MiB"),
    (TREE.replace("extents: 25", "extent: 25, size: 8MiB"), "unknown key 'extent'"),
    (TREE.replace('"--force"], base: root', '"--stripes"], base: root'), "'--stripes' is not"),
    (TREE.replace('["--force"]}\n    lvs', '["-s", "5m"]}\n    lvs'), "5m is not a power of two"),
    (TREE.replace("name: lv_tmp", "name: lv/tmp"), "LVM cannot have the name 'lv/tmp'"),
    (TREE.replace("name: lv_tmp", "name: x_tdata"), "LVM keeps names like 'x_tdata' for itself"),
    (TREE.replace("name: lv_tmp", "name: vg"), "Duplicate node name: vg"),
    (TREE.replace("base: root}", "base: rot}"), "Edge not defined: rot->pv"),
    (TREE.replace("base: lv_var", "base: vg"), "mkfs cannot lie on 'vg', which is vg"),
    (TREE.replace("base: lv_var", "base: root"), "'root' is already used by 'pv'"),
    (THIN.replace("thin-pool: pool, size", "size"), "a thin volume needs a pool"),
    (
        THIN.replace("thin-pool: pool, size", "thin-pool: lv_root, size"),
        "'lv_root' is no thin pool",
    ),
    (THIN.replace("extents: 30", "extents: 30%VG"), "a thin volume has a size, or a number of"),
    (THIN.replace("size: 48MiB", "size: 48MiB, thin-pool: pool"), "only a volume of type thin"),
    (THIN.replace("base: one, type", "base: pool, type"), "'pool' is a thin pool, and holds no"),
    (
        SPANNED.replace("{name: pv3, base: c}", "{name: pv3, base: image1}")
        + "- local_loop: {name: image1, size: 100MiB}\n",
        "lies on several devices: image0, image1",
    ),
    (SPANNED.replace("base: pv2,", "base: [pv2, pv1],"), "'pv1' is already used by 'one'"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_what_is_wrong_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        disk(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("b.yaml:")

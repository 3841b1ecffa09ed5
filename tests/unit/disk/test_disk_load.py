import re
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder import registry, schema
from imagebuilder.disk import gpt
from imagebuilder.disk.load import load
from imagebuilder.disk.model import Defaults, Disk, Table
from imagebuilder.errors import ConfigError

BARE = """\
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, base: image0, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
"""
TREE = """\
- local_loop:
    name: image0
    partitioning:
      label: gpt
      partitions:
        - name: ESP
          type: EF00
          size: 64MiB
          mkfs:
            type: vfat
            label: esp
            mount:
              mount_point: /boot/efi/
              fstab: {options: "umask=0077,ro", fsck-passno: 0, dump-freq: 1}
        - name: root
          size: 100%
          number: 1
          mkfs:
            type: ext4
            mount:
              mount_point: /
              fstab: {}
"""
GRAPH = """\
- fstab: {name: fstab_mount_mkfs_root, base: mount_mkfs_root}
- mount: {name: mount_mkfs_root, base: mkfs_root, mount_point: /}
- mkfs: {name: mkfs_root, base: root, type: ext4}
- local_loop: {name: image0}
- fstab: {base: mount_mkfs_ESP, options: "umask=0077,ro", fsck-passno: 0, dump-freq: 1}
- mkfs: {base: ESP, type: vfat, label: esp, mount: {mount_point: /boot/efi/}}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 64MiB}
      - {name: root, size: 100%, number: 1}
"""
MBR = """\
- local_loop: {name: image0, size: 4GiB, block_size: 4096}
- partitioning:
    base: image0
    label: mbr
    align: 2MiB
    partitions:
      - {name: boot, flags: [boot, primary], size: 100 MB, type: 41}
      - name: root
        flags: [primary]
        type: 0x83
        size: 50 %
        mkfs: {type: xfs, mount: {mount_point: /}}
      - {name: swap, size: 1.5GiB, type: 82, mkfs: {type: swap, mount: {mount_point: none}}}
"""


def disk(text: str, **defaults: object) -> Disk:
    return load(schema.parse(text, where="b.yaml"), Defaults(image="web", **defaults))  # type: ignore[arg-type]


def test_a_bare_filesystem_takes_everything_from_the_command_line() -> None:
    root = disk(BARE, root_type="ext3", root_options=("-i", "4096")).root
    assert (root.name, root.base, root.type) == ("mkfs_root", "image0", "ext3")
    assert (root.label, root.options, root.passno) == ("cloudimg-rootfs", ("-i", "4096"), 1)


def test_tree_notation_and_graph_notation_say_the_same() -> None:
    tree, graph = disk(TREE), disk(GRAPH)
    assert tree.devices == graph.devices
    assert tree.partitionings == graph.partitionings
    assert {fs.name: fs for fs in tree.filesystems} == {fs.name: fs for fs in graph.filesystems}


def test_everything_in_a_document_arrives() -> None:
    esp, root = sorted(disk(TREE).filesystems, key=lambda fs: fs.name)
    assert (esp.type, esp.label, esp.mount_point) == ("vfat", "ESP", "/boot/efi")
    assert (esp.mount_options, esp.passno, esp.dump) == ("umask=0077,ro", 0, 1)
    assert (root.mount_options, root.passno, root.dump, root.in_fstab) == ("defaults", 2, 0, True)
    table = disk(TREE).partitionings[0]
    assert (table.label, table.align, table.name) == (Table.GPT, 2**20, "partitioning_image0")
    assert [part.number for part in table.partitions] == [None, 1]
    assert [part.type for part in table.partitions] == ["EF00", "8300"]
    assert [(part.size, part.percent) for part in table.partitions] == [
        (64 * 2**20, None),
        (None, 100),
    ]


def test_mbr_types_are_hexadecimal_however_yaml_reads_them() -> None:
    table = disk(MBR).partitionings[0]
    assert [part.type for part in table.partitions] == ["41", "83", "82"]
    assert [part.boot for part in table.partitions] == [True, False, False]
    assert [part.primary for part in table.partitions] == [True, True, False]
    assert table.partitions[0].size == 100_000_000
    assert table.partitions[1].percent == 50
    assert table.align == 2**21


def test_a_gpt_type_is_the_code_as_it_is_spelled() -> None:
    text = TREE.replace("type: EF00", "type: 0700")
    assert disk(text).partitionings[0].partitions[0].type == "0700"


def test_a_gpt_type_can_have_the_mark_of_a_hexadecimal_number() -> None:
    assert gpt.type_guid("0x4100") == gpt.type_guid("4100")
    assert disk(TREE.replace("type: EF00", "type: '0x4100'")).partitionings[0].partitions


def test_the_command_line_sets_the_size_of_sectors() -> None:
    assert disk(MBR).devices[0].sector == 4096
    assert disk(MBR, sector=512).devices[0].sector == 512


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [("xfs", "", "img-rootfs"), ("ext4", "", "cloudimg-rootfs"), ("ext4", "mine", "mine")],
)
def test_the_root_label_follows_type_and_command_line(kind: str, label: str, expected: str) -> None:
    assert disk(BARE, root_type=kind, root_label=label).root.label == expected


def test_options_for_the_root_filesystem_are_for_one_that_has_none() -> None:
    assert disk(BARE, root_options=("-i", "4096")).root.options == ("-i", "4096")
    text = BARE.replace("base: image0,", 'base: image0, opts: "-m 1",')
    assert disk(text, root_options=("-i", "4096")).root.options == ("-m", "1")


def test_options_for_another_type_of_root_filesystem_are_left_out() -> None:
    assert disk(MBR, root_options=("-i", "4096")).root.options == ()


def test_a_label_that_nobody_gave_is_the_name() -> None:
    swap = next(fs for fs in disk(MBR).filesystems if fs.type == "swap")
    assert (swap.label, swap.mount_point, swap.in_fstab) == ("mkfs_swap", "none", False)


def test_ids_are_the_same_for_the_same_image_and_differ_otherwise() -> None:
    first, again, other = (
        load(schema.parse(TREE, where="x"), Defaults(image=name)) for name in ("a", "a", "b")
    )
    assert first == again
    assert first.root.uuid != other.root.uuid
    assert first.devices[0].uuid != other.devices[0].uuid
    assert len({fs.uuid for fs in first.filesystems}) == 2


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        ("5e6d6c1f-0000-4000-8000-000000000001", UUID("5e6d6c1f-0000-4000-8000-000000000001")),
        ("1234-ABCD", UUID(int=0x1234ABCD)),
    ],
)
def test_an_id_can_be_given(text: str, uuid: UUID) -> None:
    assert disk(BARE.replace("base: image0,", f'base: image0, uuid: "{text}",')).root.uuid == uuid


ERRORS = [
    ("a: b", "b.yaml:1:1: Config should be a list of plugins"),
    ("- a\n", "b.yaml:1:3: Config entry not a dict: a"),
    ("- {mkfs: {}, mount: {}}\n", "b.yaml:1:3: Config entry top-level should be a single dict"),
    (
        "- mkfz: {}\n",
        "b.yaml:1:3: Config entry is not a plugin value: {'mkfz': {}}\n  hint: did you mean",
    ),
    ("- mkfs: 5\n", "b.yaml:1:9: mkfs should be a mapping, not 5"),
    ("- local_loop: {}\n", "b.yaml:1:15: 'name' is a required property"),
    (BARE.replace("}\n- mkfs", ", block_size: 1}\n- mkfs"), "sectors have 512 or 4096 bytes"),
    (BARE.replace("base: image0", "base: imagO0"), "Edge not defined: imagO0->mkfs_root"),
    (BARE.replace("base: image0", "bose: image0"), "'base' is a required property"),
    (BARE.replace("base: image0", "base: mkfs_root"), "b.yaml:2:9: mkfs_root rests on itself"),
    (BARE + "- local_loop: {name: image0}\n", "b.yaml:3:15: Duplicate node name: image0"),
    (BARE + "- mkfs: {name: x, base: image0, type: ext4}\n", "b.yaml:3:25: 'image0' is already"),
    (BARE + "- mount: {base: image0, mount_point: /x}\n", "mount cannot lie on 'image0'"),
    (BARE.replace("/,", "x,"), "an absolute path, or none for swap"),
    (BARE.replace("/,", "none,"), "ext4 cannot be mounted at none"),
    (BARE.replace("/,", "/srv,"), "b.yaml: nothing is mounted at /"),
    (BARE.replace("passno: 1", "passno: x"), "in 'fsck-passno': 'x' is not of type 'integer'"),
    (BARE.replace("base: image0,", "base: image0, uuid: q,"), "b.yaml:2:47: not a UUID: 'q'"),
    (BARE.replace("base: image0,", f"base: image0, label: {'x' * 17},"), "2:48: Label [xxxxxxx"),
    (TREE.replace("label: esp", "label: muchtoolongs"), "too long for filesystem [vfat]: 12 > 11"),
    (TREE.replace("/boot/efi/", "//"), "Mount point [/] specified more than once"),
    (TREE.replace("size: 64MiB", "size: many"), "b.yaml:8:17: not a size: 'many'"),
    (TREE.replace("size: 64MiB", "size: 0"), "b.yaml:8:17: a size of nothing"),
    (TREE.replace("size: 64MiB", "size: x%"), "b.yaml:8:17: not a percentage: 'x%'"),
    (TREE.replace("size: 64MiB", "size: 101%"), "101% is not between 0% and 100%"),
    (TREE.replace("type: EF00", "typ: EF00"), "unknown key 'typ'\n  hint: did you mean 'type'"),
    (TREE.replace("type: EF00", "type: EF09"), "b.yaml:7:17: not a GPT partition type: 'EF09'"),
    (TREE.replace("type: EF00", "flags: [primary]"), "Primary flag not supported for GPT"),
    (TREE.replace("label: gpt", "label: apm"), "label is the kind of table: mbr or gpt"),
    (MBR.replace("type: 41", "type: EF00"), "not an MBR partition type: 'EF00'"),
    (MBR.replace("align: 2MiB", "align: 1000"), "align is 1000 B\n  hint: use a multiple of 4"),
    (MBR.replace("mount_point: none", "mount_point: /swap"), "swap cannot be mounted at /swap"),
    (MBR.replace("base: image0", "base: mkfs_root"), "b.yaml:8:9: root rests on itself"),
    (
        TREE.replace("label: esp", "label: x").replace("ext4", "ext4\n            label: X"),
        "File system label [X] used more than once",
    ),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_what_is_wrong_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        disk(text)
    assert message in str(caught.value)
    assert re.match(r"(2 things are in the way:\n- )?b.yaml:", str(caught.value))


def test_a_plugin_in_python_is_refused_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "dib_luks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dib-luks\nVersion: 1.0\n")
    group = registry.BLOCK_DEVICE_PLUGINS
    (about / "entry_points.txt").write_text(f"[{group}]\nluks = dib_luks:Luks\nmkfs = x:Y\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.foreign_block_device_plugins.cache_clear()
    text = "- local_loop:\n    name: image0\n    luks: {passphrase: x}\n"
    wanted = (
        r"b.yaml:{}: Config entry is not a plugin value: .*luks.*\n"
        r".*'luks' of the Python package 'dib-luks' is not loaded: .* --attached"
    )
    try:
        with pytest.raises(ConfigError, match=wanted.format("3:11")):
            disk(text)
        with pytest.raises(ConfigError, match=wanted.format("1:3")):
            disk("- luks: {base: image0}\n")
        assert disk(BARE).root.name == "mkfs_root"
    finally:
        registry.foreign_block_device_plugins.cache_clear()

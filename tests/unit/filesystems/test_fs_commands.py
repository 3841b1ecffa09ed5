import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import BuildError, CommandError, ConfigError, SpaceError
from imagebuilder.filesystems import ext, fat, swap, vfat
from imagebuilder.filesystems.epoch import epoch
from imagebuilder.process import Command, Recorder, Result
from imagebuilder.sizes import Size

MIB = 2**20
UUID_TEXT = "5e6d6c1f-0000-4000-8000-00001234abcd"
EXT4 = Filesystem(name="root", base="sda", type="ext4", label="root", uuid=UUID(UUID_TEXT))
VFAT = replace(EXT4, name="esp", type="vfat", label="ESP")
SWAP = replace(EXT4, name="swap", type="swap", label="swapfs")


def place(filesystem: Filesystem, size: int = 64 * MIB, sector: int = 512) -> Placed:
    return Placed(filesystem=filesystem, offset=Size(MIB), size=Size(size), sector=sector)


def mke2fs(
    filesystem: Filesystem, release: tuple[int, ...] = (1, 47), size: int = 64 * MIB
) -> Command:
    placed = place(filesystem, size)
    return ext.mke2fs(placed, Path("/img"), moment=5, release=release)


def option(command: Command, flag: str) -> str:
    assert command.argv.count(flag) == 1
    return command.argv[command.argv.index(flag) + 1]


def test_ext4_is_made_empty_at_its_offset() -> None:
    command = mke2fs(EXT4)
    assert command.argv[-2:] == ("/img", "65536k")
    assert "-d" not in command.argv
    assert option(command, "-U") == UUID_TEXT
    assert option(command, "-L") == "root"
    assert option(command, "-b") == "4096"
    assert option(command, "-E").split(",") == [
        f"offset={MIB}",
        f"hash_seed={UUID_TEXT}",
        "root_owner=0:0",
        "lazy_itable_init=1",
        "lazy_journal_init=1",
        "nodiscard",
    ]
    assert command.env == {"E2FSPROGS_FAKE_TIME": "5"}


def test_the_same_command_fills_it_from_a_tree_before_the_users_options() -> None:
    command = mke2fs(replace(EXT4, options=("-m", "1")))
    filled = ext.filled(command, Path("/tree"))
    assert filled.argv[:3] == ("mke2fs", "-d", "/tree")
    assert filled.argv[3:] == command.argv[1:]
    assert filled.env == command.env


@pytest.mark.parametrize(
    ("kind", "release", "features"),
    [
        ("ext4", (1, 47), ("-O", "^metadata_csum_seed,^orphan_file")),
        ("ext4", (1, 46), ("-O", "^metadata_csum_seed")),
        ("ext4", (), ()),
        ("ext3", (1, 47), ()),
    ],
)
def test_only_features_that_mke2fs_knows_are_turned_off(
    kind: str, release: tuple[int, ...], features: tuple[str, ...]
) -> None:
    command = mke2fs(replace(EXT4, type=kind), release)
    at = command.argv.index("-O") if "-O" in command.argv else 0
    assert command.argv[at : at + 2][: len(features)] == features or not features
    assert ("-O" in command.argv) == bool(features)


def test_the_users_options_join_ours_where_mke2fs_heeds_only_the_last() -> None:
    options = ("-E", "resize=9", "-m", "1", "-O^has_journal", "-Estride=2")
    command = mke2fs(replace(EXT4, options=options))
    assert option(command, "-E").endswith(",nodiscard,resize=9,stride=2")
    assert option(command, "-O") == "^metadata_csum_seed,^orphan_file,^has_journal"
    assert option(command, "-m") == "1"


def test_the_users_ratio_comes_after_ours() -> None:
    argv = mke2fs(replace(EXT4, options=("-i", "8192")), size=512 * MIB).argv
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "-i"] == ["16384", "8192"]


def test_a_full_filesystem_is_a_lack_of_space() -> None:
    def run(command: Command) -> Result:
        if "-V" in command.argv:
            return Result(command, 0, "mke2fs 1.47.0 (5-Feb-2023)\n")
        raise CommandError("exit status 1\nmke2fs: Could not allocate block in ext2 filesystem")

    with pytest.raises(SpaceError, match=r"/tree: 64 MiB are too few .* root\n.*larger"):
        ext.make(place(EXT4), Path("/tree"), Path("/img"), run)


def test_another_failure_of_mke2fs_stays_one() -> None:
    def run(command: Command) -> Result:
        if "-V" in command.argv:
            return Result(command, 0, "")
        raise CommandError("exit status 1\nmke2fs: Invalid argument")

    with pytest.raises(CommandError, match="Invalid argument"):
        ext.make(place(EXT4), Path("/tree"), Path("/img"), run)


def test_vfat_says_constants_first_and_its_id_after(tmp_path: Path) -> None:
    argv = vfat.mkfs(place(VFAT), tmp_path / "img").argv
    assert argv[:3] == ("mkfs.vfat", "--invariant", "--offset=2048")
    assert argv[3:13] == ("-S", "512", "-F", "32", "-s", "1", "-i", "1234abcd", "-n", "ESP")
    assert argv[13:] == (str(tmp_path / "img"), "65536")


def test_vfat_counts_in_the_sectors_of_the_disk() -> None:
    argv = vfat.mkfs(place(VFAT, sector=4096), Path("/img")).argv
    assert argv[2:9] == ("--offset=256", "-S", "4096", "-F", "16", "-s", "1")


def test_the_users_kind_of_fat_replaces_ours() -> None:
    argv = vfat.mkfs(place(replace(VFAT, options=("-F", "16", "-s", "4"))), Path("/img")).argv
    assert argv.count("-F") == argv.count("-s") == 1


def test_a_vfat_without_room_for_clusters_is_refused() -> None:
    with pytest.raises(SpaceError, match="esp: 4 KiB are too few"):
        vfat.mkfs(place(VFAT, size=4096), Path("/img"))


def test_files_are_copied_in_order_and_a_directory_at_a_time() -> None:
    files = ["a", "b", "EFI/x", "EFI/y"]
    commands = list(vfat.fill(place(VFAT), Path("/tree"), Path("/img"), ["EFI", "z"], files))
    assert [(command.argv[0], command.argv[-2:]) for command in commands] == [
        ("mmd", ("::/EFI", "::/z")),
        ("mcopy", ("./b", "::/")),
        ("mcopy", ("./EFI/y", "::/EFI")),
    ]
    assert {command.argv[-5] for command in commands[1:]} == {"-i"}
    assert {command.argv[command.argv.index("-i") + 1] for command in commands} == {"/img@@1048576"}
    assert {command.env["SOURCE_DATE_EPOCH"] for command in commands} == {"315532800"}


def test_many_files_are_copied_in_batches() -> None:
    files = [f"{number:0100}" for number in range(2000)]
    commands = list(vfat.fill(place(VFAT), Path("/tree"), Path("/img"), [], files))
    assert len(commands) == 4
    copied = [word for command in commands for word in command.argv if word.startswith("./")]
    assert copied == [f"./{name}" for name in files]


def boot_sector(clusters: int) -> bytes:
    start = bytearray(512)
    start[11:17] = bytes((0, 2, 1, 32, 0, 2))
    start[32:36] = (32 + 2 * 600 + clusters).to_bytes(4, "little")
    start[36:40] = (600).to_bytes(4, "little")
    return bytes(start)


def test_clusters_are_counted_as_firmware_does() -> None:
    assert fat.clusters(boot_sector(70000)) == 70000


def test_a_fat_that_counts_as_another_kind_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "img"
    image.write_bytes(bytes(MIB) + boot_sector(60000))
    with pytest.raises(BuildError, match=r"esp: mkfs\.vfat made a FAT that counts as FAT16"):
        vfat.make(place(VFAT), tmp_path, image, Recorder())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("README", "readme"), "'README' and 'readme' are one name on vfat"),
        (("a:b",), "vfat cannot hold the name 'a:b'"),
        (("a\nb",), "vfat cannot hold the name"),
        (("a.",), "vfat cannot hold the name"),
    ],
)
def test_names_that_fat_cannot_hold_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    image, tree = tmp_path / "img", tmp_path / "tree"
    image.write_bytes(bytes(MIB) + boot_sector(70000))
    (tree / "sub").mkdir(parents=True)
    for name in names:
        (tree / "sub" / name).touch()
    with pytest.raises(ConfigError, match=f"/sub: .*{message}"):
        vfat.make(place(VFAT), tree, image, Recorder())


def test_a_swap_header_has_version_size_id_and_label(tmp_path: Path) -> None:
    image = tmp_path / "img"
    image.write_bytes(bytes(3 * MIB))
    swap.make(place(SWAP, size=MIB), tmp_path, image, Recorder())
    page = image.read_bytes()[MIB : MIB + 4096]
    assert page[1024:1036] == bytes((1, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0))
    assert UUID(bytes=page[1036:1052]) == UUID(UUID_TEXT)
    assert page[1052:1068].rstrip(b"\0") == b"swapfs"
    assert page[-10:] == b"SWAPSPACE2"
    assert image.stat().st_size == 3 * MIB


def test_a_swap_area_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="swap: 36 KiB are too few for swap: at least 40 KiB"):
        swap.make(place(SWAP, size=36864), tmp_path, tmp_path / "img", Recorder())


def test_the_epoch_is_zero_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert epoch() == 0
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1747699200")
    assert epoch() == 1747699200


@pytest.mark.parametrize("text", ["-1", "1.5", "today", str(2**31)])
def test_an_epoch_that_is_no_number_of_seconds_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(ConfigError, match=f"SOURCE_DATE_EPOCH: not a number .*'{text}'\n.*whole"):
        epoch()

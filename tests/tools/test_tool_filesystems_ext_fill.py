"""Trees in ext filesystems of many kinds, poured and looked at by e2fsprogs and the kernel."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.disk.image import Image
from imagebuilder.disk.model import Placed
from imagebuilder.errors import BuildError, CommandError, SpaceError
from imagebuilder.filesystems import ext, ext2fs
from imagebuilder.filesystems.measure import measure
from imagebuilder.formats import qcow2_writer, zstd
from imagebuilder.formats.assembled import copy, whole
from imagebuilder.process import Command, find, run
from imagebuilder.sizes import Size
from tests.tools import test_tool_filesystems_ext as of_ext

MIB = 2**20
EXT4 = of_ext.EXT4
OURS = {
    "blocks of 1 KiB": ("ext4", ("-b", "1024")),
    "blocks of 2 KiB": ("ext4", ("-b", "2048")),
    "ext2 with blocks of 1 KiB": ("ext2", ("-b", "1024")),
    "small inodes": ("ext4", ("-I", "128")),
    "large inodes": ("ext4", ("-I", "512")),
    "no checksums": ("ext4", ("-O", "^metadata_csum")),
    "checksums of groups": ("ext4", ("-O", "^metadata_csum,uninit_bg")),
    "no extents": ("ext4", ("-O", "^extent,^64bit")),
    "meta_bg": ("ext4", ("-O", "meta_bg,^resize_inode")),
    "no flex_bg": ("ext4", ("-O", "^flex_bg")),
    "no journal": ("ext4", ("-O", "^has_journal")),
    "no dir_index": ("ext4", ("-O", "^dir_index")),
}
MKE2FS = {
    "bigalloc": ("ext4", ("-O", "bigalloc")),
    "inline_data": ("ext4", ("-O", "inline_data")),
    "encrypt": ("ext4", ("-O", "encrypt")),
}

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("mke2fs") is None or find("e2fsck") is None, reason="needs e2fsprogs"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes devices, mounts")


@pytest.fixture(autouse=True)
def _moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(of_ext.EPOCH))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def made(
    tree: Path, image: Path, size: int, kind: str = "ext4", options: tuple[str, ...] = ()
) -> Image:
    """An image with a filesystem 1 MiB in, with whatever is borrowed."""
    filesystem = replace(EXT4, type=kind, options=options)
    placed = Placed(filesystem=filesystem, offset=Size(MIB), size=Size(size))
    with image.open("wb") as file:
        file.truncate(size + 2 * MIB)
    return Image(file=image, borrowed=ext.make(placed, tree, image, run))


def shown(image: Path, request: str) -> str:
    """What debugfs answers."""
    return run(Command(("debugfs", "-R", request, f"{image}?offset={MIB}"))).output


def crowded_tree(tree: Path) -> None:
    """An odd tree with directories of many blocks and files with many parts, too."""
    of_ext.odd_tree(tree)
    (tree / "lost+found").mkdir(0o750)
    (tree / "many").mkdir()
    for number in range(700):
        (tree / "many" / f"{number}{'n' * (number % 200)}").write_bytes(b"x" * number * 9)
    with (tree / "parts").open("wb") as file:
        for number in range(1200):
            file.seek(number * 16384)
            file.write(b"part" * 1024)
    (tree / "large").write_bytes(os.urandom(MIB) * 9 + b"end")
    os.removexattr(tree / "attributes", "trusted.large")  # more than a block of 1 KiB holds
    (tree / "long symlink").unlink()
    (tree / "long symlink").symlink_to("x/" * 500)
    for path in [*tree.rglob("*"), tree]:
        if path.name not in {"old", "later", "latest", "late"}:
            os.utime(path, (of_ext.EPOCH - 50, of_ext.EPOCH - 100), follow_symlinks=False)


@needs_root
@pytest.mark.parametrize(("kind", "options"), OURS.values(), ids=OURS)
def test_the_kernel_finds_the_tree_whatever_the_options(
    tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    crowded_tree(tree)
    if "128" in options:  # no room for the bits beyond 2038
        for name in ("later", "latest", "sub/deeper/late"):
            os.utime(tree / name, (5, 5))
    before = of_ext.tree_described(tree)
    poured = made(tree, image, 128 * MIB, kind, options)
    assert poured.borrowed
    whole(poured)
    of_ext.assert_clean(image)
    found, times = of_ext.mounted(image, tmp_path / "point")
    assert found == before
    assert times == {(of_ext.EPOCH * 10**9, of_ext.EPOCH * 10**9)}


@needs_root
@pytest.mark.parametrize(("kind", "options"), MKE2FS.values(), ids=MKE2FS)
def test_features_that_change_how_content_is_kept_are_left_to_mke2fs(
    tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    crowded_tree(tree)
    poured = made(tree, image, 128 * MIB, kind, options)
    assert not poured.borrowed
    of_ext.assert_clean(image)
    assert "Inode count" in shown(image, "stats")
    assert "Size: 9437187" in shown(image, "stat /large")


@needs_root
def test_lost_and_found_is_the_trees(tmp_path: Path, tree: Path) -> None:
    (tree / "lost+found" / "sub").mkdir(parents=True)
    (tree / "lost+found" / "found").write_text("again\n")
    (tree / "lost+found").chmod(0o751)
    os.chown(tree / "lost+found", 7, 8)
    image = whole(made(tree, tmp_path / "image", 16 * MIB))
    of_ext.assert_clean(image)
    about = shown(image, "stat /lost+found")
    assert "Inode: 11 " in about
    assert "Mode:  0751" in about
    assert "User:     7   Group:     8" in about
    assert "Size: 16384" in about
    assert shown(image, "cat /lost+found/found").endswith("again\n")


def test_a_root_directory_of_many_blocks(tmp_path: Path, tree: Path) -> None:
    for number in range(500):
        (tree / f"{number:0200}").touch()
    image = whole(made(tree, tmp_path / "image", 16 * MIB))
    of_ext.assert_clean(image)
    assert shown(image, "ls -p /").count("/100644/") == 500


def test_a_file_larger_than_one_extent(tmp_path: Path, tree: Path) -> None:
    with (tree / "large").open("wb") as file:
        for _ in range(140):
            file.write(bytes(range(256)) * 4096)
    poured = made(tree, tmp_path / "image", 200 * MIB)
    assert sum(each.length for each in poured.borrowed) == 140 * MIB
    assert all(each.start % 4096 == MIB % 4096 for each in poured.borrowed)
    of_ext.assert_clean(whole(poured))
    out = tmp_path / "out"
    shown(poured.file, f"dump /large {out}")
    assert out.read_bytes() == (tree / "large").read_bytes()


def test_contents_are_not_written_before_somebody_wants_them(tmp_path: Path, tree: Path) -> None:
    of_ext.large_files(tree)
    poured = made(tree, tmp_path / "image", 160 * MIB)
    assert poured.file.stat().st_blocks * 512 < 4 * MIB
    copied = tmp_path / "copied"
    copied.touch()
    copy(poured, copied)
    assert poured.file.stat().st_blocks * 512 < 4 * MIB
    assert copied.read_bytes() == whole(poured).read_bytes()
    of_ext.assert_clean(copied)


def test_small_holes_make_no_difference(tmp_path: Path, tree: Path) -> None:
    images = []
    for name in ("holes", "zeros"):
        content = tree / "file"
        content.write_bytes(b"data".ljust(300_000, b"\0") + b"data")
        if name == "holes":
            run(Command(("fallocate", "--dig-holes", str(content))))
            assert content.stat().st_blocks * 512 < content.stat().st_size
        os.utime(content, (0, 0))
        os.utime(tree, (0, 0))
        images.append(whole(made(tree, tmp_path / name, 16 * MIB)).read_bytes())
    assert images[0] == images[1]


@pytest.mark.skipif(not zstd.available(), reason="needs libzstd")
def test_qcow2_is_the_same_wherever_contents_lie(tmp_path: Path, tree: Path) -> None:
    of_ext.tiny_files(tree)
    of_ext.sparse_files(tree)
    poured = made(tree, tmp_path / "image", 64 * MIB)
    for name, image in (("from tree", poured), ("from file", Image(file=whole(poured)))):
        qcow2_writer.write(image, tmp_path / name)
    assert (tmp_path / "from tree").read_bytes() == (tmp_path / "from file").read_bytes()


@pytest.mark.parametrize("kind", ["ext4", "ext2"])
def test_a_tree_that_does_not_fit_is_a_space_error(tmp_path: Path, tree: Path, kind: str) -> None:
    of_ext.large_files(tree)
    with pytest.raises(SpaceError, match=r"tree: 100 MiB are too few .* mkfs_root\n.*larger"):
        made(tree, tmp_path / "image", 100 * MIB, kind)


def test_too_few_inodes_are_a_space_error(tmp_path: Path, tree: Path) -> None:
    of_ext.tiny_files(tree)
    with pytest.raises(SpaceError, match="are too few for what goes into mkfs_root"):
        made(tree, tmp_path / "image", 64 * MIB, options=("-N", "1000"))


def test_an_attribute_without_room_names_the_file(tmp_path: Path, tree: Path) -> None:
    (tree / "file").touch()
    os.setxattr(tree / "file", "user.large", b"v" * 3000)
    with pytest.raises(CommandError, match=r"tree/file: libext2fs.*Insufficient space"):
        made(tree, tmp_path / "image", 16 * MIB, options=("-b", "1024"))


def test_a_target_longer_than_a_block_names_the_symlink(tmp_path: Path, tree: Path) -> None:
    (tree / "link").symlink_to("x" * 1024)
    with pytest.raises(BuildError, match="tree/link: its target has no room in 1024 bytes"):
        made(tree, tmp_path / "image", 16 * MIB, options=("-b", "1024"))


def test_a_filling_that_fails_writes_nothing(tmp_path: Path, tree: Path) -> None:
    of_ext.tiny_files(tree)
    image = made(tree, tmp_path / "image", 64 * MIB).file
    before = image.read_bytes()
    with suppress(InterruptedError), ext2fs.filling(image, MIB, 5) as filesystem:
        filesystem.new_inode(directory=False)
        raise InterruptedError
    assert image.read_bytes() == before


def test_what_measuring_finds_is_enough_for_blocks_of_one_kib(tmp_path: Path, tree: Path) -> None:
    of_ext.one_directory(tree)
    filesystem = replace(EXT4, options=("-b", "1024"))
    size = ext.needed(filesystem, measure(tree))
    of_ext.assert_clean(whole(made(tree, tmp_path / "image", size, options=filesystem.options)))

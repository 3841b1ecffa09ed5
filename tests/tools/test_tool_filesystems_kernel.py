"""Trees poured into xfs and btrfs through a mount that nobody else sees, inode by inode."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest

from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import SpaceError, ToolMissingError
from imagebuilder.filesystems import btrfs, mounted, xfs
from imagebuilder.filesystems.measure import measure
from imagebuilder.process import Command, find, run
from imagebuilder.sandbox import loops
from imagebuilder.sizes import Size
from tests.tools import trees
from tests.tools.trees import MIB

XFS = Filesystem(
    name="mkfs_root", base="root", type="xfs", label="root",
    uuid=UUID("5e6d6c1f-0000-4000-8000-000000000001"),
)  # fmt: skip
# mkfs.btrfs wants a UUID that no block device has, those of other tests among them.
BTRFS = replace(XFS, type="btrfs", uuid=UUID("b7f50000-0000-4000-8000-000000000001"))
KINDS = [(xfs, XFS), (btrfs, BTRFS)]


def missing(kind: str) -> str:
    """Why `kind` cannot be tried here; empty if it can."""
    return "" if find(f"mkfs.{kind}") is None else mounted.obstacle(kind)


both = pytest.mark.parametrize(("module", "fs"), KINDS, ids=["xfs", "btrfs"])
pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        find("mkfs.xfs") is None or find("mkfs.btrfs") is None, reason="needs xfsprogs, btrfs-progs"
    ),
]
mounts = pytest.mark.skipif(
    bool(missing("xfs") or missing("btrfs")), reason=f"{missing('xfs')} {missing('btrfs')}"
)


def pour(fs: Filesystem, tree: Path, image: Path, size: Size | None = None) -> Placed:
    module = xfs if fs.type == "xfs" else btrfs
    room = size or module.needed(fs, measure(tree))
    placed = Placed(filesystem=fs, offset=Size(MIB), size=room)
    with image.open("wb") as file:
        file.truncate(room + 2 * MIB)
    module.make(placed, tree, image, run)
    return placed


def assert_clean(image: Path, placed: Placed) -> None:
    """Raise unless the filesystem's own checker, changing nothing, finds nothing."""
    programs = {"xfs": ("xfs_repair", "-n"), "btrfs": ("btrfs", "check", "--readonly")}
    part = loops.Part(file=image, offset=placed.offset, size=placed.size)
    with loops.attached(part) as device:
        run(Command((*programs[placed.filesystem.type], str(device))))


@mounts
@both
def test_the_kernel_finds_in_the_filesystem_what_is_in_the_tree(
    tmp_path: Path, module: ModuleType, fs: Filesystem
) -> None:
    del module
    tree, image = tmp_path / "tree", tmp_path / "image"
    trees.odd_tree(tree)
    before = trees.described(tree)
    placed = pour(fs, tree, image)
    assert_clean(image, placed)
    found = trees.in_image(image, fs.type, (placed.offset, placed.size))
    assert found.keys() == before.keys()
    assert {name for name in before if before[name] != found[name]} == set()


@mounts
@both
@pytest.mark.parametrize("shape", trees.SHAPES)
def test_what_is_said_to_be_needed_is_enough(
    tmp_path: Path, module: ModuleType, fs: Filesystem, shape: Callable[[Path], None]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shape(tree)
    placed = pour(fs, tree, tmp_path / "image")
    assert_clean(tmp_path / "image", placed)
    assert module.needed(fs, measure(tree)) == placed.size


@mounts
@both
def test_too_little_room_is_an_error_that_says_so(
    tmp_path: Path, module: ModuleType, fs: Filesystem
) -> None:
    del module
    tree = tmp_path / "tree"
    tree.mkdir()
    trees.large_files(tree)
    with pytest.raises(SpaceError, match="are too few for what goes into mkfs_root"):
        pour(fs, tree, tmp_path / "image", Size(400 * MIB))


@mounts
@both
def test_nothing_is_left_attached_or_mounted(
    tmp_path: Path, module: ModuleType, fs: Filesystem
) -> None:
    del module
    tree = tmp_path / "tree"
    tree.mkdir()
    mounts_before = Path("/proc/self/mountinfo").read_text()
    pour(fs, tree, tmp_path / "image")
    assert Path("/proc/self/mountinfo").read_text() == mounts_before
    assert str(tmp_path) not in run(Command(("losetup", "--list"))).output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "tree"]


@mounts
@both
def test_label_and_id_are_those_asked_for(
    tmp_path: Path, module: ModuleType, fs: Filesystem
) -> None:
    del module
    tree = tmp_path / "tree"
    tree.mkdir()
    pour(fs, tree, tmp_path / "image")
    words = ("blkid", "--probe", "--offset", str(MIB), "-o", "export", str(tmp_path / "image"))
    found = run(Command(words)).output.split()
    assert {f"UUID={fs.uuid}", "LABEL=root", f"TYPE={fs.type}"} <= {*found}


def test_btrfs_without_a_mount_loses_device_numbers_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounted, "ALL_IDS", ["nothing"])
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * 100_000)
    (tree / "link").hardlink_to(tree / "file")
    placed = pour(BTRFS, tree, image)
    words = ("btrfs", "check", "--readonly")
    apart = tmp_path / "apart"
    apart.write_bytes(image.read_bytes()[placed.offset : placed.offset + placed.size])
    run(Command((*words, str(apart))))
    if os.geteuid() == 0:
        os.mknod(tree / "null", 0o20666, os.makedev(1, 3))
        assert [str(loss) for loss in btrfs.losses(BTRFS, measure(tree))] == ["1 devices: '/null'"]


def test_xfs_without_a_mount_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounted, "ALL_IDS", ["nothing"])
    with pytest.raises(ToolMissingError, match=r"xfs cannot be written: .* takes root\n  hint: .*"):
        xfs.check(XFS)


def test_a_kernel_without_the_filesystem_is_refused() -> None:
    if mounted.obstacle("xfs"):
        pytest.skip(mounted.obstacle("xfs"))
    with pytest.raises(ToolMissingError, match="the kernel has no nonesuchfs"):
        mounted.check("nonesuchfs")


KILLED = """
import sys, os, signal
sys.path[:0] = sys.argv[1:2]
from pathlib import Path
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter
from imagebuilder.process import Command
image, point = sys.argv[2:4]
with loops.attached(loops.Part(file=Path(image))) as device, enter(Sandbox()) as inside:
    inside(Command(("mount", "--make-rprivate", "/")))
    inside(Command(("mount", "-o", "nouuid", str(device), point)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@mounts
def test_a_killed_builder_leaves_no_loop_device(tmp_path: Path) -> None:
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    run(Command(("mkfs.xfs", "-q", str(image))))
    words = [find("python3") or "python3", "-c", KILLED, str(trees.ROOT), str(image), str(point)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    for _ in range(50):
        if str(image) not in run(Command(("losetup", "--list"))).output:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert str(image) not in run(Command(("losetup", "--list"))).output
    assert str(point) not in Path("/proc/self/mountinfo").read_text()


@mounts
def test_of_filesystems_of_one_uuid_each_waits_for_its_turn(tmp_path: Path) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    with ThreadPoolExecutor(1) as pool:
        with loops.turn():
            pouring = pool.submit(pour, BTRFS, tree, image)
            with pytest.raises(TimeoutError):
                pouring.result(timeout=1)
        placed = pouring.result()
    assert_clean(image, placed)

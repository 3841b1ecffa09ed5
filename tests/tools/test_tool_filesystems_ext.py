"""Trees poured into ext filesystems by the real mke2fs, compared inode by inode."""

import ast
import hashlib
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.disk.image import Image
from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import CommandError, SpaceError
from imagebuilder.filesystems import ext, ext2fs
from imagebuilder.filesystems.measure import measure
from imagebuilder.formats.assembled import whole
from imagebuilder.process import Command, find, run
from imagebuilder.sizes import Size

MIB = 2**20
EPOCH = 1_600_000_000
EXT4 = Filesystem(
    name="mkfs_root", base="root", type="ext4", label="root",
    uuid=UUID("5e6d6c1f-0000-4000-8000-000000000001"),
)  # fmt: skip
SOURCES = str(Path(ext.__file__).parents[2])

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("mke2fs") is None or find("e2fsck") is None, reason="needs e2fsprogs"),
]


@pytest.fixture(autouse=True)
def _moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))


def pour(filesystem: Filesystem, tree: Path, image: Path, size: Size | None = None) -> Placed:
    room = size or ext.needed(filesystem, measure(tree))
    placed = Placed(filesystem=filesystem, offset=Size(MIB), size=room)
    with image.open("wb") as file:
        file.truncate(room + 2 * MIB)
    whole(Image(file=image, borrowed=ext.make(placed, tree, image, run)))
    return placed


def assert_clean(image: Path) -> None:
    """Raise unless e2fsck, changing nothing, finds nothing."""
    run(Command(("e2fsck", "-fn", f"{image}?offset={MIB}")))


def tiny_files(tree: Path) -> None:
    for number in range(20):
        (tree / f"d{number}").mkdir()
        for other in range(100):
            (tree / f"d{number}" / f"file{other}").write_text("x" * (other % 7))


def large_files(tree: Path) -> None:
    for number in range(3):
        (tree / str(number)).write_bytes(hashlib.shake_128(bytes([number])).digest(40 * MIB))


def deep_directories(tree: Path) -> None:
    for number in range(120):
        tree /= f"deep{number}"
        tree.mkdir()
        (tree / "file").write_bytes(b"y" * 5000)


def sparse_files(tree: Path) -> None:
    for name in "ab":
        with (tree / name).open("wb") as file:
            for number in range(1500):
                file.seek(number * 8192)
                file.write(b"z" * 4096)
    with (tree / "large").open("wb") as file:
        file.truncate(100 * MIB)
        file.seek(50 * MIB)
        file.write(b"q")


def links(tree: Path) -> None:
    (tree / "file").write_bytes(bytes(range(256)) * 4000)
    for number in range(500):
        (tree / f"hard link {number}").hardlink_to(tree / "file")
        (tree / f"symlink{number}").symlink_to("x" * (number % 120 + 1))


def one_directory(tree: Path) -> None:
    (tree / "d").mkdir()
    for number in range(5000):
        (tree / "d" / ("n" * (number % 240) + str(number))).touch()


def middling_files(tree: Path) -> None:
    for number in range(500):
        (tree / str(number)).write_bytes(b"m" * 53_000)


def scattered_blocks(tree: Path) -> None:
    with (tree / "file").open("wb") as file:
        for number in range(200):
            file.seek(number * 32 * MIB)
            file.write(b"s")


def attributes(tree: Path) -> None:
    for number in range(500):
        (tree / str(number)).touch()
        os.setxattr(tree / str(number), "user.k", b"v" * number * 6)


def nothing(tree: Path) -> None:
    del tree


SHAPES = (
    tiny_files, large_files, deep_directories, sparse_files, scattered_blocks,
    middling_files, links, one_directory, attributes, nothing,
)  # fmt: skip
KINDS = {
    "ext4": EXT4,
    "ext3": replace(EXT4, type="ext3"),
    "ext2": replace(EXT4, type="ext2"),
    "dib": replace(EXT4, options=("-i", "4096", "-J", "size=64")),
    "grows": replace(EXT4, options=("-E", "resize=100000000")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_said_to_be_needed_is_enough(tmp_path: Path, shape: Callable[[Path], None]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shape(tree)
    for filesystem in KINDS.values():
        pour(filesystem, tree, tmp_path / "image")
        assert_clean(tmp_path / "image")


def test_what_is_said_to_be_needed_is_little_more_than_enough(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    large_files(tree)
    size = ext.needed(EXT4, measure(tree))
    with pytest.raises(SpaceError, match="are too few for what goes into mkfs_root"):
        pour(EXT4, tree, tmp_path / "image", Size(size - 4 * MIB))


def test_what_is_no_filesystem_is_not_opened(tmp_path: Path) -> None:
    image = tmp_path / "img"
    image.write_bytes(bytes(MIB))
    with (
        pytest.raises(CommandError, match=r"img: libext2fs\.so\.2: Bad magic number"),
        ext2fs.opened(image, 4096),
    ):
        pass


def odd_tree(tree: Path) -> None:
    """Everything that a tree can hold and a writer can lose."""
    tree.mkdir()
    (tree / "file").write_bytes(b"content\n" * 1000)
    (tree / "link").hardlink_to(tree / "file")
    (tree / "symlink").symlink_to("file")
    (tree / "long symlink").symlink_to("x/" * 500)
    (tree / ("n" * 255)).touch()
    (tree / "new\nline and ünicode").touch()
    with (tree / "sparse").open("wb") as file:
        file.truncate(100 * MIB)
        file.seek(70 * MIB)
        file.write(b"data")
    for name in ("setuid", "old", "later", "latest", "caps", "acl", "attributes"):
        (tree / name).write_text(name)
    (tree / "setuid").chmod(0o6755)
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    (tree / "sub" / "deeper").mkdir(parents=True)
    (tree / "sub" / "deeper" / "late").touch()
    os.mkfifo(tree / "fifo", 0o640)
    with chdir(tree), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    only_root(tree)
    odd_times(tree)


def odd_times(tree: Path) -> None:
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, (EPOCH - 50, EPOCH - 100), follow_symlinks=False)
    times = {"old": -315_619_200, "later": 2_208_988_800, "latest": 2**33, "sub/deeper/late": 2**31}
    for name, seconds in times.items():
        os.utime(tree / name, (seconds, seconds))
    os.utime(tree, (EPOCH - 7, EPOCH - 9))


def only_root(tree: Path) -> None:
    """What it takes privileges to make."""
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    os.chown(tree / "setuid", 12345, 70000)
    (tree / "setuid").chmod(0o6755)
    tree.chmod(0o1750)
    os.chown(tree, 70001, 5)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tree / "caps", "security.capability", capability)
    everybody = 2**32 - 1
    entries = (
        (1, 7, everybody),
        (2, 7, 33),
        (4, 5, everybody),
        (16, 7, everybody),
        (32, 5, everybody),
    )
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(tree / "acl", "system.posix_acl_access", acl)
    os.setxattr(tree / "tmp", "system.posix_acl_default", acl)
    for name, size in (("user.small", 5), ("trusted.large", 3000), ("security.selinux", 40)):
        os.setxattr(tree / "attributes", name, b"v" * size)
    os.setxattr(tree, "user.root", b"r" * 60)


def described(path: Path) -> tuple[object, ...]:
    """What of an inode has to be the same in tree and filesystem; times in seconds."""
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content: object = status.st_size
    if kind == stat.S_IFREG:
        content = hashlib.sha256(path.read_bytes()).hexdigest(), status.st_blocks < 4096
    elif kind == stat.S_IFLNK:
        content = str(path.readlink())
    elif kind == stat.S_IFDIR:
        content = status.st_nlink
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns // 10**9,
        status.st_rdev,
        0 if kind == stat.S_IFDIR else status.st_nlink,
        content if kind != stat.S_IFDIR else 0,
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    )


def tree_described(tree: Path) -> dict[str, tuple[object, ...]]:
    paths = [tree, *sorted(tree.rglob("*"))]
    found = {str(path.relative_to(tree)): described(path) for path in paths}
    return {name: about for name, about in found.items() if name != "lost+found"}


MOUNTED = """
import ctypes, os, subprocess, sys
sys.path[:0] = sys.argv[1:3]
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x4000 | 1 << 18
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None):
    sys.exit(77)
image, point = sys.argv[3:5]
options = "loop,ro,noload,offset=1048576"
if subprocess.run(["mount", "-t", "ext4", "-o", options, image, point]).returncode:
    sys.exit(77)
from pathlib import Path
import test_tool_filesystems_ext as own
found = own.tree_described(Path(point))
inodes = [path.lstat() for path in [Path(point), *Path(point).rglob("*")]]
print(repr((found, {(inode.st_atime_ns, inode.st_ctime_ns) for inode in inodes})))
"""


def mounted(image: Path, point: Path) -> tuple[dict[str, object], set[object]]:
    """What the kernel says is in a filesystem, mounted where nobody else sees it."""
    point.mkdir(exist_ok=True)
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", MOUNTED, SOURCES, here, str(image), str(point)],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel mounts no loop devices for us")
    assert done.returncode == 0
    found, times = ast.literal_eval(done.stdout.decode())
    return found, times


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes devices, mounts")


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "ext3", "ext2"])
def test_the_kernel_finds_in_the_filesystem_what_is_in_the_tree(tmp_path: Path, kind: str) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    odd_tree(tree)
    before = tree_described(tree)
    pour(replace(EXT4, type=kind), tree, image)
    assert_clean(image)
    found, times = mounted(image, tmp_path / "point")
    assert found.keys() == before.keys()
    assert {name for name in before if before[name] != found[name]} == set()
    assert times == {(EPOCH * 10**9, EPOCH * 10**9)}


@needs_root
def test_equal_trees_make_equal_bytes(tmp_path: Path) -> None:
    """Another directory, another order of creation, other ctimes, time zone, umask and hour."""
    sums = set()
    for number, (zone, mask) in enumerate((("UTC", 0o022), ("Asia/Tokyo", 0o077))):
        tree, image = tmp_path / f"place {number}" / "tree", tmp_path / f"image{number}"
        tree.parent.mkdir()
        time.sleep(1.1 * number)
        odd_tree(tree)
        names = [f"file {name}" for name in range(300)]
        for name in names[:: 1 - 2 * number]:
            (tree / "sub" / name).write_text(name)
            os.utime(tree / "sub" / name, (EPOCH + number, EPOCH))
        for path in (tree / "sub", tree):
            os.utime(path, (EPOCH, EPOCH))
        sums.add(poured_elsewhere(tree, image, zone, mask))
    assert len(sums) == 1


POUR = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
os.umask(int(sys.argv[5]))
import test_tool_filesystems_ext as own
own.pour(own.EXT4, Path(sys.argv[3]), Path(sys.argv[4]))
"""


def poured_elsewhere(tree: Path, image: Path, zone: str, mask: int) -> str:
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-c", POUR, SOURCES, here, str(tree), str(image), str(mask)],
        env={**os.environ, "TZ": zone, "SOURCE_DATE_EPOCH": str(EPOCH)},
        check=True,
    )
    return hashlib.sha256(image.read_bytes()).hexdigest()


@needs_root
def test_the_order_of_readdir_does_not_matter(tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second filesystem with another order")
    tree = tmp_path / "tree"
    tree.mkdir()
    tiny_files(tree)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (EPOCH, EPOCH))
    other = shared / f"imagebuilder-test-{os.getpid()}"
    try:
        shutil.copytree(tree, other)
        assert [path.name for path in other.iterdir()] != [path.name for path in tree.iterdir()]
        for place, image in ((tree, "a"), (other, "b")):
            pour(EXT4, place, tmp_path / image)
    finally:
        shutil.rmtree(other, ignore_errors=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_outside_the_region_is_touched(tmp_path: Path) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    tiny_files(tree)
    placed = Placed(filesystem=EXT4, offset=Size(MIB), size=ext.needed(EXT4, measure(tree)))
    around = b"\xaa" * MIB
    image.write_bytes(around + bytes(placed.size) + around)
    ext.make(placed, tree, image, run)
    content = image.read_bytes()
    assert content[:MIB] == content[MIB + placed.size :] == around


def test_the_superblock_has_label_id_and_moment(tmp_path: Path) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    tiny_files(tree)
    pour(EXT4, tree, image)
    block = image.read_bytes()[MIB + 1024 : MIB + 2048]
    written, mounts = struct.unpack_from("<I", block, 48)[0], block[52:54]
    assert (written, mounts) == (EPOCH, b"\0\0")
    assert UUID(bytes=block[104:120]) == EXT4.uuid
    assert block[120:136].rstrip(b"\0") == b"root"

"""Trees with everything that a writer of filesystems can lose, and what the kernel says of them."""

from __future__ import annotations

import ast
import hashlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from imagebuilder.process import Command
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter

MIB = 2**20
EPOCH = 1_600_000_000
ROOT = Path(__file__).parents[2]


def odd_tree(tree: Path) -> None:
    """Hard links, holes, odd names, special files, owners, attributes, ACLs, times."""
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
    for name in ("setuid", "old", "later", "caps", "acl", "attributes"):
        (tree / name).write_text(name)
    for name in ("tmp", "sub"):
        (tree / name).mkdir()
    (tree / "sub" / "late").touch()
    os.mkfifo(tree / "fifo", 0o640)
    with chdir(tree), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    _own(tree)
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, ns=(EPOCH * 10**9, EPOCH * 10**9 + 123), follow_symlinks=False)
    for name, seconds in {"old": -315_619_200, "later": 2_208_988_800, "sub/late": 2**31}.items():
        os.utime(tree / name, (seconds, seconds))
    os.utime(tree, (EPOCH - 7, EPOCH - 9))


def _own(tree: Path) -> None:
    os.chown(tree / "setuid", 12345, 70000)
    (tree / "setuid").chmod(0o6755)
    (tree / "tmp").chmod(0o1777)
    tree.chmod(0o1750)
    os.chown(tree, 70001, 5)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tree / "caps", "security.capability", capability)
    anybody = 2**32 - 1
    entries = ((1, 7, anybody), (2, 7, 33), (4, 5, anybody), (16, 7, anybody), (32, 5, anybody))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(tree / "acl", "system.posix_acl_access", acl)
    os.setxattr(tree / "tmp", "system.posix_acl_default", acl)
    for name, size in (("user.small", 5), ("trusted.large", 3000), ("security.selinux", 40)):
        os.setxattr(tree / "attributes", name, b"v" * size)
    os.setxattr(tree, "user.root", b"r" * 60)


def described(tree: Path) -> dict[str, tuple[object, ...]]:
    """Everything of every inode that has to be the same in a tree and in a filesystem."""
    paths = [tree, *sorted(tree.rglob("*"))]
    found = {str(path.relative_to(tree)): _inode(path) for path in paths}
    return {name: about for name, about in found.items() if name != "lost+found"}


def _inode(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content: object = status.st_size
    if kind == stat.S_IFREG:
        content = hashlib.sha256(path.read_bytes()).hexdigest(), status.st_blocks < 4096
    elif kind == stat.S_IFLNK:
        content = str(path.readlink())
    listed = sorted(os.listxattr(path, follow_symlinks=False))
    names = [name for name in listed if not name.startswith("trusted.SGI_ACL")]  # how xfs has ACLs
    return (
        oct(status.st_mode),
        (status.st_uid, status.st_gid),
        status.st_mtime_ns,
        status.st_rdev,
        0 if kind == stat.S_IFDIR else status.st_nlink,
        0 if kind == stat.S_IFDIR else content,
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    )


def in_image(image: Path, kind: str, part: tuple[int, int]) -> dict[str, tuple[object, ...]]:
    """What the kernel finds in a filesystem at `part` (offset, size) of `image`."""
    point = image.with_name("point")
    point.mkdir(exist_ok=True)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:2]; from pathlib import Path;"
        " from tests.tools import trees; print(repr(trees.described(Path(sys.argv[2]))))"
    )
    offset, size = part
    with (
        loops.attached(loops.Part(file=image, offset=offset, size=size)) as device,
        enter(Sandbox(network=False)) as inside,
    ):
        inside(Command(("mount", "--make-rprivate", "/")))
        inside(Command(("mount", "-o", "ro", "-t", kind, str(device), str(point))))
        words = (sys.executable, "-c", program, str(ROOT), str(point))
        output = inside(Command(words)).output
        inside(Command(("umount", str(point))))
    found: dict[str, tuple[object, ...]] = ast.literal_eval(output)
    return found


def tiny_files(tree: Path) -> None:
    for number in range(200):
        (tree / f"d{number}").mkdir()
        for other in range(100):
            (tree / f"d{number}" / f"file{other}").write_text("x" * (other % 7))


def large_files(tree: Path) -> None:
    for number in range(12):
        (tree / str(number)).write_bytes(hashlib.shake_128(bytes([number])).digest(40 * MIB))


def sparse_files(tree: Path) -> None:
    for name in "ab":
        with (tree / name).open("wb") as file:
            for number in range(4000):
                file.seek(number * 8192)
                file.write(b"z" * 4096)


def one_directory(tree: Path) -> None:
    (tree / "d").mkdir()
    for number in range(20000):
        (tree / "d" / ("n" * (number % 240) + str(number))).touch()


def middling_files(tree: Path) -> None:
    for number in range(6000):
        (tree / str(number)).write_bytes(b"m" * 53_000)


def small_files(tree: Path) -> None:
    for number in range(30000):
        (tree / str(number)).write_bytes(b"m" * 1_900)


def attributes(tree: Path) -> None:
    for number in range(8000):
        (tree / str(number)).touch()
        os.setxattr(tree / str(number), "user.k", b"v" * (number % 400) * 8)


def nothing(tree: Path) -> None:
    del tree


SHAPES: tuple[Callable[[Path], None], ...] = (
    tiny_files, large_files, sparse_files, one_directory, middling_files, small_files,
    attributes, nothing,
)  # fmt: skip

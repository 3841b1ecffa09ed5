import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.disk.image import Image
from imagebuilder.errors import BuildError, CommandError
from imagebuilder.formats import qcow2, qcow2_writer, raw, tar, zstd
from imagebuilder.formats.model import Output
from imagebuilder.process import Command, Recorder, find, run

MIB = 2**20
SOURCES = str(Path(raw.__file__).parents[2])
EPOCH = 1_600_000_000
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
ACL = "system.posix_acl_access"
NOBODY = 2**32 - 1
ACCESS = struct.pack("<I", 2) + b"".join(  # u::rwx u:33:rwx g::r-x m::rwx o::r-x, as in acl(5)
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in (
        (1, 7, NOBODY), (2, 7, 33), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY),
    )
)  # fmt: skip

pytestmark = pytest.mark.tools
needs_qemu_img = pytest.mark.skipif(find("qemu-img") is None, reason="needs qemu-img")
needs_zstd = pytest.mark.skipif(not zstd.available(), reason="needs libzstd")
needs_tar = pytest.mark.skipif(find("tar") is None, reason="needs GNU tar")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, or makes devices")

CONVERT = """
import sys
from pathlib import Path
from imagebuilder.disk.image import Image
from imagebuilder.errors import BuildError
from imagebuilder import registry
from imagebuilder.formats.model import Output, Source
from imagebuilder.process import run
name, source, path = sys.argv[1:]
output = Output(path=Path(path), format=name, checksums=("sha256",), target="web")
module = registry.output_format(name)
try:
    borrowing = module.SOURCE is Source.IMAGE
    source = Image(file=Path(source)) if borrowing else Path(source)
    module.write(source, output, run)
except BuildError as error:
    print(error)
    sys.exit(error.exit_status)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.write(os.urandom(4 * MIB))
        file.seek(20 * MIB)
        file.write(b"some words, " * MIB)
        file.truncate(64 * MIB)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name in ("etc", "proc", "sys", "dev", "run", "usr/bin"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/hostname").write_text("web\n")
    (tree / "etc/naïve ü").write_text("odd name\n")
    (tree / "usr/bin/tool").write_bytes(b"#!/bin/sh\n")
    (tree / "usr/bin/tool").chmod(0o4755)
    (tree / "usr/bin/other").hardlink_to(tree / "usr/bin/tool")
    (tree / "usr/bin/link").symlink_to("tool")
    for name in ("proc/version", "dev/.hidden", "sys/block"):
        (tree / name).write_text("not for the archive\n")
    with (tree / "sparse").open("wb") as file:
        file.truncate(3 * MIB)
    os.utime(tree / "etc/hostname", (0, 1_000_000_000))
    return tree


def pack(tree: Path, path: Path) -> Path:
    output = Output(path=path, format=path.suffix[1:], epoch=EPOCH, overwrite=True)
    return tar.write(tree, output, run).path


def command(module: str, source: Path, path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", CONVERT, module, str(source), str(path))


@needs_qemu_img
@pytest.mark.parametrize(
    "options",
    [(), ("compression_type=zstd",), ("compression_type=zlib",), ("compat=0.10",)],
)
def test_qcow2_has_the_disks_content(disk: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    output = Output(path=tmp_path / "web.qcow2", format="qcow2", options=options)
    made = qcow2.write(Image(file=disk), output, run)
    run(Command(("qemu-img", "check", str(made.path))))
    compared = run(Command(("qemu-img", "compare", str(disk), str(made.path))))
    assert "identical" in compared.output
    assert 4 * MIB < made.size < 5 * MIB


@needs_qemu_img
def test_qcow2_is_the_same_again(disk: Path, tmp_path: Path) -> None:
    outputs = [Output(path=tmp_path / f"{name}.qcow2", format="qcow2") for name in ("a", "b")]
    contents = [qcow2.write(Image(file=disk), output, run).path.read_bytes() for output in outputs]
    assert contents[0] == contents[1]


def put(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        for start, content in pieces:
            file.seek(start)
            file.write(content)
        file.truncate(size)
    return path


def clean(path: Path) -> bool:
    """Whether qemu-img finds nothing at all wrong, not even a lost cluster."""
    checked = run(Command(("qemu-img", "check", "-f", "qcow2", "--output=json", str(path))))
    report = json.loads(checked.output)
    return not any(report.get(kind, 0) for kind in ("corruptions", "leaks", "check-errors"))


@needs_qemu_img
@needs_zstd
@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, ()),
        (512, ((0, b"smaller than a cluster"),)),
        (5 * MIB + 4096, ((0, b"some words, " * 100_000), (5 * MIB + 4090, b"end"))),
        (20 * MIB, ((0, os.urandom(20 * MIB)),)),
        (20 * MIB, ((0, os.urandom(9 * MIB)), (9 * MIB, b"\7" * 9 * MIB), (19 * MIB, b"x"))),
        (10 * 2**30, ((600 * MIB, os.urandom(MIB)), (10 * 2**30 - 2**20, b"words " * 1000))),
        (2**40, ((2**39, b"in the middle"),)),
    ],
    ids=["empty", "tiny", "odd", "noise", "mixed", "several-tables", "huge"],
)
def test_our_own_qcow2_is_what_qemu_img_expects(
    tmp_path: Path, size: int, pieces: tuple[tuple[int, bytes], ...]
) -> None:
    source = put(tmp_path / "disk", size, *pieces)
    target = tmp_path / "web.qcow2"
    qcow2_writer.write(Image(file=source), target)
    assert clean(target)
    run(Command(("qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(source), str(target))))
    told = json.loads(run(Command(("qemu-img", "info", "--output=json", str(target)))).output)
    assert told["virtual-size"] == size
    assert told["format-specific"]["data"]["compression-type"] == "zstd"


@needs_qemu_img
@needs_zstd
def test_our_own_qcow2_comes_back_as_the_disk(disk: Path, tmp_path: Path) -> None:
    target, back = tmp_path / "web.qcow2", tmp_path / "back"
    qcow2_writer.write(Image(file=disk), target)
    run(Command(("qemu-img", "convert", "-O", "raw", str(target), str(back))))
    assert back.read_bytes() == disk.read_bytes()


@needs_qemu_img
@needs_zstd
@pytest.mark.skipif(find("qemu-io") is None, reason="needs qemu-io")
def test_our_own_qcow2_can_be_written_to(disk: Path, tmp_path: Path) -> None:
    target = tmp_path / "web.qcow2"
    qcow2_writer.write(Image(file=disk), target)
    script = ("-c", "write -P 7 20M 3M", "-c", "write -P 8 0 64k", "-c", "read -P 7 20M 3M")
    run(Command(("qemu-io", *script, str(target))))
    assert clean(target)


@needs_qemu_img
def test_a_qcow2_beyond_one_block_of_reference_counts_is_sound(tmp_path: Path) -> None:
    target, clusters = tmp_path / "web.qcow2", qcow2_writer.COUNTS + 1000
    placed = qcow2_writer.Map()
    for number in range(clusters):
        placed.add_plain(number, (1 + number) * qcow2_writer.CLUSTER)
    size = clusters * qcow2_writer.CLUSTER
    tables = qcow2_writer.Tables(size=size, start=1 + clusters, map=placed)
    start, rest = (1 + clusters) * qcow2_writer.CLUSTER, b"".join(tables.content())
    put(target, start + len(rest), (0, tables.header()), (start, rest))
    assert qcow2_writer.refcounts(tables.blocks) == (2, 1)
    assert clean(target)


@needs_qemu_img
def test_a_qcow2_option_that_qemu_img_refuses_leaves_nothing(disk: Path, tmp_path: Path) -> None:
    output = Output(path=tmp_path / "web.qcow2", format="qcow2", options=("colour=blue",))
    with pytest.raises(CommandError, match="colour"):
        qcow2.write(Image(file=disk), output, run)
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


@needs_qemu_img
def test_a_killed_conversion_leaves_the_older_output_or_a_whole_new_one(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out/web.qcow2"
    target.parent.mkdir()
    argv = command("qcow2", disk, target)
    monkeypatch.setenv("PYTHONPATH", SOURCES)
    started = time.monotonic()
    subprocess.run(argv, check=True)
    whole, length = target.read_bytes(), time.monotonic() - started
    moment = random.Random(1)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret
    for _ in range(10):
        process = subprocess.Popen(argv)
        time.sleep(moment.uniform(0.2, 1.1) * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert target.read_bytes() == whole
    subprocess.run(argv, check=True)
    assert not [path for path in target.parent.iterdir() if path.name.startswith(".")]


@needs_root
@needs_tar
@needs_qemu_img
@pytest.mark.parametrize(
    "module", ["qcow2", "raw", "tar", "tgz", "oci", "squashfs", "vmdk", "gce", "ova"]
)
def test_a_full_disk_is_a_space_error_that_leaves_nothing(
    disk: Path, tmp_path: Path, module: str
) -> None:
    small, source = tmp_path / "small", disk
    small.mkdir()
    if module == "squashfs" and find("mksquashfs") is None:
        pytest.skip("needs mksquashfs")
    if module in {"tar", "tgz", "oci", "squashfs"}:
        source = tmp_path / "source"
        source.mkdir()
        disk.rename(source / "disk")
    script = (
        'mount -t tmpfs -o size=2m tmpfs "$0" && cd "$0" && "$@"; '
        'status=$?; ls -A "$0"; exit $status'
    )
    inside = ("unshare", "--mount", "sh", "-c", script, str(small))
    done = subprocess.run(
        (*inside, *command(module, source, Path("web.out"))),
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    first, hint = done.stdout.splitlines()
    assert first.startswith("web.out: no space left: up to ")
    assert first.endswith("2 MiB free")
    assert "hint: make room" in hint


@pytest.mark.skipif(
    Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev, reason="needs two filesystems"
)
def test_raw_goes_to_another_filesystem_with_its_holes(disk: Path) -> None:
    content, taken = disk.read_bytes(), disk.stat().st_blocks * 512
    elsewhere = Path(f"/dev/shm/imagebuilder-{os.getpid()}")
    elsewhere.mkdir()
    try:
        output = Output(path=elsewhere / "web.raw", format="raw", checksums=("sha256",))
        made = raw.write(Image(file=disk), output, Recorder())
        assert made.path.read_bytes() == content
        assert made.digests["sha256"] == hashlib.sha256(content).hexdigest()
        assert made.path.stat().st_blocks * 512 <= taken + MIB
    finally:
        shutil.rmtree(elsewhere)


@needs_tar
def test_the_archive_has_the_tree_in_order(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(pack(tree, tmp_path / "web.tar")) as archive:
        names = archive.getnames()
    assert names == [
        ".", "./dev", "./etc", "./etc/hostname", "./etc/naïve ü", "./proc", "./run", "./sparse",
        "./sys", "./usr", "./usr/bin", "./usr/bin/link", "./usr/bin/other", "./usr/bin/tool",
    ]  # fmt: skip


@needs_tar
def test_what_is_younger_than_the_epoch_gets_its_time(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(pack(tree, tmp_path / "web.tar")) as archive:
        times = {entry.name: entry.mtime for entry in archive}
    assert times.pop("./etc/hostname") == 1_000_000_000
    assert set(times.values()) == {EPOCH}


@needs_tar
def test_a_copy_of_the_tree_gives_the_same_archive(tree: Path, tmp_path: Path) -> None:
    run(Command(("cp", "-a", str(tree), str(tmp_path / "copy"))))
    first = pack(tree, tmp_path / "a.tgz").read_bytes()
    assert pack(tmp_path / "copy", tmp_path / "b.tgz").read_bytes() == first


@needs_tar
def test_tgz_is_the_tar_compressed(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "web.tgz")
    run(Command(("gzip", "-t", str(packed))))
    assert "./etc/hostname" in run(Command(("tar", "-tzf", str(packed)))).output
    assert gzip.decompress(packed.read_bytes()) == pack(tree, tmp_path / "web.tar").read_bytes()


@needs_tar
@needs_root
def test_tar_keeps_what_a_system_needs(tree: Path, tmp_path: Path) -> None:
    os.setxattr(tree / "usr/bin/tool", "security.capability", CAPABILITY)
    os.chown(tree / "etc/hostname", 1234, 5678)
    os.mknod(tree / "etc/null", 0o20666, os.makedev(1, 3))
    copy = tmp_path / "copy"
    copy.mkdir()
    packed = str(pack(tree, tmp_path / "web.tar"))
    unpack = ("tar", "-C", str(copy), "--xattrs", "--xattrs-include=*", "-xpf", packed)
    run(Command(unpack))
    assert os.getxattr(copy / "usr/bin/tool", "security.capability") == CAPABILITY
    assert (copy / "usr/bin/tool").samefile(copy / "usr/bin/other")
    assert (copy / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
    owner = (copy / "etc/hostname").stat()
    assert (owner.st_uid, owner.st_gid) == (1234, 5678)
    assert (copy / "etc/null").stat().st_rdev == os.makedev(1, 3)
    assert (copy / "sparse").read_bytes() == bytes(3 * MIB)


@needs_tar
@needs_root
def test_tar_keeps_access_control_lists(tree: Path, tmp_path: Path) -> None:
    os.setxattr(tree / "etc", ACL, ACCESS)
    copy = tmp_path / "copy"
    copy.mkdir()
    packed = str(pack(tree, tmp_path / "web.tar"))
    run(Command(("tar", "-C", str(copy), "--acls", "-xpf", packed)))
    assert os.getxattr(copy / "etc", ACL) == ACCESS


@needs_tar
@pytest.mark.parametrize("name", ["web.tar", "web.tgz"])
def test_a_tree_that_tar_cannot_read_leaves_no_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match=r"(?s)tar --create.*exit status 2.*absent"):
        pack(tmp_path / "absent", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@needs_tar
def test_messages_of_tar_do_not_get_into_the_archive(tree: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "etc/socket"))  # tar says that it leaves it out
        with tarfile.open(pack(tree, tmp_path / "web.tar")) as archive:
            assert "./etc/socket" not in archive.getnames()


@pytest.mark.parametrize("write", [qcow2.write, raw.write, tar.write])
def test_no_format_writes_over_a_directory(
    disk: Path, tmp_path: Path, write: Callable[[Path, Output, Recorder], object]
) -> None:
    (tmp_path / "web.tar").mkdir()
    with pytest.raises(BuildError, match="is a directory"):
        write(disk, Output(path=tmp_path / "web.tar", format="tar"), Recorder())
    assert disk.exists()

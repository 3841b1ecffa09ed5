"""Disks of others, opened, changed and closed again: real filesystems on real loop devices."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.existing import attach, grow, peek, source, table
from imagebuilder.existing.attach import Opened, Opening
from imagebuilder.process import run
from imagebuilder.sandbox.isolate import isolate
from imagebuilder.sizes import Size

MIB = 1 << 20
BY_KIND = {"ext4": "8303", "xfs": "8300", "btrfs": "8300"}


def attachable() -> bool:
    """Whether loop devices and mounts can be had."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not attachable(), reason="needs root and loop devices"),
    pytest.mark.skipif(not shutil.which("sgdisk"), reason="needs sgdisk"),
    pytest.mark.skipif(not shutil.which("mcopy"), reason="needs mtools"),
]


def sh(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def apart(action: Callable[[], None]) -> None:
    """Do something in a process with a mount namespace of its own, as builds do."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            isolate()
            action()
            status = 0
        except BaseException as error:  # ruff: ignore[blind-except] - it has to get out of here
            print(repr(error), file=sys.stderr, flush=True)  # ruff: ignore[print]
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def disk(directory: Path, kind: str) -> Path:
    """An EFI system partition, a /boot of ext2 and a root of this kind, which is filled."""
    raw = directory / "disk.raw"
    raw.touch()
    os.truncate(raw, 420 * MIB)
    sh(
        "sgdisk",
        "-n1:2048:+20M",
        "-t1:EF00",
        "-n2:0:+20M",
        "-n3:0:0",
        f"-t3:{BY_KIND[kind]}",
        str(raw),
    )
    sh("mkfs.vfat", "-i", "ABCD1234", "-n", "ESP", "--offset=2048", str(raw), str(20 << 10))
    sh("mmd", "-i", f"{raw}@@1M", "::/EFI")
    sh("mcopy", "-i", f"{raw}@@1M", sys.executable, "::/EFI/first file")
    files = directory / "boot"
    files.mkdir()
    (files / "efi").mkdir()
    (files / "vmlinuz").write_text("kernel")
    options = ("-q", "-L", "BOOT", "-d", str(files), "-E", f"offset={21 * MIB}")
    sh("mke2fs", "-t", "ext2", *options, str(raw), "20m")
    part = directory / "part"
    part.touch()
    os.truncate(part, table.load(raw).areas[2].size)
    sh(f"mkfs.{kind}", "-q", str(part))
    apart(lambda: fill(part, directory / "point", kind))
    sh("dd", f"if={part}", f"of={raw}", "bs=1M", "seek=41", "conv=notrunc,sparse", "status=none")
    part.unlink()
    return raw


def fill(part: Path, point: Path, kind: str) -> None:
    """Put a small system into the filesystem; with btrfs, into the subvolume `root`."""
    point.mkdir()
    sh("mount", "-o", "loop", str(part), str(point))
    root = point
    if kind == "btrfs":
        root = point / "root"
        sh("btrfs", "subvolume", "create", str(root))
    for name in ("etc", "boot/efi", "bin", "srv"):
        (root / name).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    lines = "LABEL=BOOT /boot ext2 defaults 0 2\nUUID=ABCD-1234 /boot/efi vfat umask=077 0 1\n"
    (root / "etc/fstab").write_text(f"{lines}UUID=none /data ext4 nofail 0 2\n")
    (root / "srv/one").write_text("one" * 1000)
    os.link(root / "srv/one", root / "srv/two")
    os.setxattr(root / "srv/one", "user.colour", b"blue")
    os.chown(root / "srv/one", 4242, 4343)
    os.utime(root / "srv/one", (10**9, 10**9))
    (root / "etc/escape").symlink_to("/srv")
    sh("umount", str(point))


def digest(raw: Path, start: int, end: int) -> str:
    with raw.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(end - start)).hexdigest()


def opening(raw: Path, directory: Path, *, read_only: bool = False) -> Opening:
    tree, scratch = directory / "tree", directory / "scratch"
    tree.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    return Opening(raw=raw, tree=tree, scratch=scratch, read_only=read_only)


def devices_of(raw: Path) -> list[str]:
    """The loop devices that show the file."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [str(file) for file in files if file.read_text().strip() == str(raw)]


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_disk_is_one_tree_and_keeps_its_layout_when_that_changes(
    tmp_path: Path, kind: str
) -> None:
    if f"{kind}\n" not in Path("/proc/filesystems").read_text():
        pytest.skip(f"needs a kernel with {kind}")
    raw = disk(tmp_path, kind)
    before = table.load(raw)
    esp = digest(raw, MIB, 21 * MIB)

    def change() -> None:
        with attach.opened(opening(raw, tmp_path)) as found:
            assert [m.point for m, _ in found.mounted] == ["/", "/boot", "/boot/efi"]
            assert found.missing == ["UUID=none on /data"]
            check_files(found.opening.tree)
            (found.opening.tree / "etc/new").write_text("new")
            (found.opening.tree / "boot/vmlinuz").unlink()
            found.close()

    def look() -> None:
        with attach.opened(opening(raw, tmp_path, read_only=True)) as found:
            assert (found.opening.tree / "etc/new").read_text() == "new"
            assert not (found.opening.tree / "boot/vmlinuz").exists()
            found.close()

    apart(change)
    assert table.load(raw) == before
    assert digest(raw, MIB, 21 * MIB) == esp
    assert not devices_of(raw)
    whole = digest(raw, 0, 420 * MIB)
    apart(look)
    assert digest(raw, 0, 420 * MIB) == whole


def check_files(tree: Path) -> None:
    """Everything that files have is there."""
    assert (tree / "boot/vmlinuz").read_text() == "kernel"
    assert (tree / "boot/efi/EFI/first file").stat().st_size > 1000
    one, two = (tree / "srv/one").stat(), (tree / "srv/two").stat()
    assert (one.st_ino, one.st_nlink, one.st_uid, one.st_gid) == (two.st_ino, 2, 4242, 4343)
    assert one.st_mtime == 10**9
    assert os.getxattr(tree / "srv/one", "user.colour") == b"blue"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("plain"), "ext4")


@pytest.fixture
def raw(plain: Path, tmp_path: Path) -> Path:
    """A disk of its own for a test."""
    copied = tmp_path / "copy.raw"
    sh("cp", "--sparse=always", str(plain), str(copied))
    return copied


def test_only_what_has_changed_goes_back_into_a_fat(raw: Path, tmp_path: Path) -> None:
    def change() -> None:
        with attach.opened(opening(raw, tmp_path)) as found:
            efi = found.opening.tree / "boot/efi/EFI"
            (efi / "debian").mkdir()
            (efi / "debian/grubx64.efi").write_bytes(b"new" * 5000)
            found.close()

    apart(change)
    listed = sh("mdir", "-b", "-/", "-i", f"{raw}@@1M", "::/")
    assert "::/EFI/debian/grubx64.efi" in listed
    assert sh("mtype", "-i", f"{raw}@@1M", "::/EFI/debian/grubx64.efi") == "new" * 5000
    assert table.load(raw).areas[0].content
    assert table.load(raw).areas[0].content.uuid == "ABCD-1234"  # type: ignore[union-attr]


def test_mount_points_that_lead_out_of_the_tree_stay_in_it(raw: Path, tmp_path: Path) -> None:
    def plant() -> None:
        with attach.opened(opening(raw, tmp_path)) as found:
            tree = found.opening.tree
            (tree / "etc/fstab").write_text("LABEL=BOOT /etc/escape/../../../srv ext2\n")
            found.close()
        with attach.opened(opening(raw, tmp_path)) as found:
            assert found.opening.tree / "srv" in [point for _, point in found.mounted]
            found.close()

    apart(plant)


def test_a_disk_grows_with_its_last_filesystem_and_keeps_its_ids(raw: Path, tmp_path: Path) -> None:
    before = table.load(raw)
    grown = grow.enlarge(raw, Size(800 * MIB), run)
    assert grown == 3

    def check(found: Opened) -> None:
        grow.fill(found, 3, run)
        status = os.statvfs(found.opening.tree)
        assert status.f_blocks * status.f_frsize > 650 * MIB

    def look() -> None:
        with attach.opened(opening(raw, tmp_path)) as found:
            check(found)
            found.close()

    apart(look)
    after = table.load(raw)
    assert after.size == 800 * MIB
    assert [(a.number, a.offset, a.uuid, a.type, a.content) for a in after.areas] == [
        (a.number, a.offset, a.uuid, a.type, a.content) for a in before.areas
    ]
    sh("e2fsck", "-fn", f"{raw}?offset={int(after.areas[2].offset)}")
    sh("sgdisk", "--verify", str(raw))


def test_nothing_is_left_of_a_killed_opener(raw: Path, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        isolate()
        with attach.opened(opening(raw, tmp_path)):
            (tmp_path / "open").touch()
            time.sleep(600)
    while not (tmp_path / "open").exists():
        time.sleep(0.05)
    assert len(devices_of(raw)) == 4
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    end = time.monotonic() + 10
    while devices_of(raw) and time.monotonic() < end:
        time.sleep(0.05)
    assert not devices_of(raw)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("kind", ["vmdk", "vhdx", "qcow2", "vdi"])
def test_other_formats_become_the_same_disk(raw: Path, tmp_path: Path, kind: str) -> None:
    packed, again = tmp_path / f"disk.{kind}", tmp_path / "again.raw"
    sh("qemu-img", "convert", "-O", kind, str(raw), str(packed))
    source.write_raw(packed, again, run)
    assert digest(again, 0, 420 * MIB) == digest(raw, 0, 420 * MIB)
    assert again.stat().st_blocks * 512 < 200 * MIB


@pytest.mark.parametrize("packer", ["xz", "gzip", "zstd"])
def test_compressed_disks_are_unpacked(tmp_path: Path, packer: str) -> None:
    if not shutil.which(packer):
        pytest.skip(f"needs {packer}")
    raw = tmp_path / "small.raw"
    raw.write_bytes(b"disk" * 100000)
    with (tmp_path / "packed").open("wb") as file:
        subprocess.run([packer, "-c", str(raw)], stdout=file, check=True)
    source.write_raw(tmp_path / "packed", tmp_path / "again.raw", run)
    assert digest(tmp_path / "again.raw", 0, 400000) == digest(raw, 0, 400000)
    packed = (tmp_path / "packed").read_bytes()
    (tmp_path / "half").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        source.write_raw(tmp_path / "half", tmp_path / "half.raw", run)


def test_an_image_that_draws_on_other_files_is_refused(raw: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(raw), "-F", "raw", str(overlay))
    with pytest.raises(ConfigError, match="has part of its content in another file"):
        source.write_raw(overlay, tmp_path / "x.raw", run)
    data = tmp_path / "outside.qcow2"
    options = f"data_file={tmp_path}/data"
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(data), "10M")
    with pytest.raises(ConfigError, match="has part of its content in another file"):
        source.write_raw(data, tmp_path / "x.raw", run)


def test_a_damaged_qcow2_is_refused(raw: Path, tmp_path: Path) -> None:
    packed = tmp_path / "disk.qcow2"
    sh("qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(packed))
    os.truncate(packed, packed.stat().st_size // 2)
    with pytest.raises(ConfigError, match="is damaged"):
        source.write_raw(packed, tmp_path / "x.raw", run)


@pytest.mark.parametrize(
    ("kind", "offset", "mark"), [("lvm", 512, b"LABELONE"), ("luks", 0, b"LUKS\xba\xbe")]
)
def test_a_disk_without_a_system_says_what_is_on_it(
    raw: Path, tmp_path: Path, kind: str, offset: int, mark: bytes
) -> None:
    with raw.open("r+b") as file:
        file.seek(table.load(raw).areas[2].offset)
        file.write(bytes(MIB))
        file.seek(table.load(raw).areas[2].offset + offset)
        file.write(mark)

    def refuse() -> None:
        with (
            pytest.raises(ConfigError, match=f"partition 3 is {kind}"),
            attach.opened(opening(raw, tmp_path)),
        ):
            raise AssertionError

    apart(refuse)


def test_a_disk_is_listed_whatever_its_format(raw: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a, b.qcow2"
    sh("qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(packed))
    assert peek.load(packed, run)[1] == peek.load(raw, run)[1] == table.load(raw)
    listed = sh(sys.executable, "-m", "imagebuilder", "disk", "ls", str(packed)).splitlines()
    assert listed[0] == "qcow2, 420 MiB, gpt partition table, sectors of 512 bytes"
    assert [line.split()[:4] for line in listed[3:5]] == [
        ["1", "20", "MiB", "vfat"], ["2", "20", "MiB", "ext2"],
    ]  # fmt: skip
    about = json.loads(sh(sys.executable, "-m", "imagebuilder", "disk", "ls", "--json", str(raw)))
    assert about["areas"][0]["content"] == {"type": "vfat", "label": "ESP", "uuid": "ABCD-1234"}


def extract(image: Path, target: Path) -> subprocess.CompletedProcess[str]:
    words = ("disk", "extract", str(image), "-o", str(target))
    return subprocess.run(
        [sys.executable, "-m", "imagebuilder", *words],
        env={**os.environ, "TMPDIR": str(target.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_files_of_all_filesystems_become_one_archive(raw: Path, tmp_path: Path) -> None:
    packed = tmp_path / "disk.qcow2"
    sh("qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(packed))
    before = digest(raw, 0, 420 * MIB)
    for image, name in ((raw, "raw.tar"), (packed, "packed.tgz")):
        done = extract(image, tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert digest(raw, 0, 420 * MIB) == before
    names = sh("tar", "-tf", str(tmp_path / "raw.tar"))
    assert names == sh("tar", "-tf", str(tmp_path / "packed.tgz"))
    assert {"./etc/os-release", "./boot/vmlinuz", "./boot/efi/EFI/first file"} <= {
        *names.splitlines()
    }
    listed = sh("tar", "--xattrs", "-tvvf", str(tmp_path / "raw.tar"), "./srv")
    assert "4242/4343" in listed
    assert "2001-09-09" in listed
    assert "link to ./srv/" in listed
    assert "user.colour" in listed
    assert not devices_of(raw)


def test_an_archive_that_cannot_be_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    for image, name, line in (
        (raw, "x.zip", "is not the name of an archive"),
        (tmp_path / "none", "x.tar", "there is no such file"),
        (Path(sys.executable), "x.tar", "neither a partition table nor a filesystem"),
    ):
        done = extract(image, tmp_path / name)
        assert done.returncode == 2
        assert line in done.stderr
        assert not (tmp_path / name).exists()

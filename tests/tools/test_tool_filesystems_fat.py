"""Trees poured into FAT by mkfs.vfat and mtools, and swap areas against those of mkswap."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.errors import CommandError
from imagebuilder.filesystems import fat, swap, vfat
from imagebuilder.filesystems.measure import measure
from imagebuilder.process import Command, Recorder, find, run
from imagebuilder.sizes import Size

MIB = 2**20
EPOCH = 1_600_000_000
ESP = Filesystem(
    name="mkfs_esp", base="esp", type="vfat", label="ESP",
    uuid=UUID("5e6d6c1f-0000-4000-8000-00001234abcd"),
)  # fmt: skip
SWAP = replace(ESP, name="mkfs_swap", type="swap", label="swapfs")
SOURCES = str(Path(vfat.__file__).parents[2])
PROGRAMS = ("mkfs.vfat", "mcopy", "fsck.vfat")

pytestmark = pytest.mark.tools
needs_fat = pytest.mark.skipif(
    not all(map(find, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}"
)
needs_mkswap = pytest.mark.skipif(find("mkswap") is None, reason="needs mkswap")


def pour(tree: Path, image: Path, size: int, sector: int = 512) -> None:
    with image.open("wb") as file:
        file.truncate(size + 3 * MIB)
    vfat.make(
        Placed(filesystem=ESP, offset=Size(2 * MIB), size=Size(size), sector=sector),
        tree,
        image,
        run,
    )


def boot_tree(tree: Path, names: int = 0) -> Path:
    for directory in ("EFI/BOOT", "EFI/debian", "empty"):
        (tree / directory).mkdir(parents=True)
    (tree / "EFI/BOOT/BOOTX64.EFI").write_bytes(hashlib.shake_128(b"efi").digest(900_000))
    (tree / "EFI/debian/grub.cfg").write_text("configfile\n")
    (tree / "A long name, with ünicode and [brackets].txt").write_text("x" * 600)
    (tree / "link").symlink_to("EFI")
    for number in range(names):
        (tree / "EFI" / f"file number {number}").write_bytes(b"x" * number * 10)
    for path in tree.rglob("*"):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return tree


def region(image: Path, size: int) -> Path:
    """The filesystem alone, for programs that know no offset."""
    alone = image.with_suffix(".alone")
    with image.open("rb") as file:
        file.seek(2 * MIB)
        alone.write_bytes(file.read(size))
    return alone


def listed(image: Path, tree: Path) -> dict[str, bytes]:
    """What mtools finds in the image, through a copy of it in `tree`."""
    tree.mkdir()
    argv = ("mcopy", "-s", "-m", "-n", "-i", f"{image}@@{2 * MIB}", "::/", os.fspath(tree))
    run(Command(argv))
    files = (path for path in tree.rglob("*") if path.is_file())
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


@needs_fat
@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("mebibytes", [3, 17, 33, 34, 64, 300])
def test_a_tree_comes_back_from_fat(tmp_path: Path, mebibytes: int, sector: int) -> None:
    tree, image = boot_tree(tmp_path / "tree"), tmp_path / "image"
    pour(tree, image, mebibytes * MIB, sector)
    run(Command(("fsck.vfat", "-n", os.fspath(region(image, mebibytes * MIB)))))
    assert listed(image, tmp_path / "copy") == {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert (tmp_path / "copy" / "empty").is_dir()
    copied = (tmp_path / "copy" / "EFI" / "debian" / "grub.cfg").stat()
    assert int(copied.st_mtime) == EPOCH


@needs_fat
@pytest.mark.parametrize("names", [0, 500])
@pytest.mark.parametrize("sector", [512, 4096])
def test_what_is_said_to_be_needed_is_enough(tmp_path: Path, names: int, sector: int) -> None:
    tree, image = boot_tree(tmp_path / "tree", names), tmp_path / "image"
    size = vfat.needed(ESP, measure(tree))
    pour(tree, image, size, sector)
    run(Command(("fsck.vfat", "-n", os.fspath(region(image, size)))))


@needs_fat
def test_a_tree_that_does_not_fit_fails(tmp_path: Path) -> None:
    tree = boot_tree(tmp_path / "tree")
    with pytest.raises(CommandError, match="full"):
        pour(tree, tmp_path / "image", 512 * 1024)


@needs_fat
def test_nothing_outside_the_region_is_touched(tmp_path: Path) -> None:
    tree, image = boot_tree(tmp_path / "tree"), tmp_path / "image"
    size = 34 * MIB
    image.write_bytes(b"\xaa" * (size + 3 * MIB))
    placed = Placed(filesystem=ESP, offset=Size(2 * MIB), size=Size(size))
    vfat.make(placed, tree, image, run)
    content = image.read_bytes()
    assert content[: 2 * MIB] == b"\xaa" * 2 * MIB
    assert content[2 * MIB + size :] == b"\xaa" * MIB
    assert content[2 * MIB + 67 : 2 * MIB + 82] == bytes.fromhex("cdab3412") + b"ESP        "


@needs_fat
@pytest.mark.parametrize("sector", [512, 4096])
def test_clusters_are_foreseen_within_the_margin(tmp_path: Path, sector: int) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    for size in (MIB, 7 * MIB + 4096, 40 * MIB, 250 * MIB, 261 * MIB, 3000 * MIB):
        pour(tree, image, size, sector)
        with image.open("rb") as file:
            file.seek(2 * MIB)
            made = fat.clusters(file.read(512))
        foreseen = fat.shape(size, sector)
        assert foreseen is not None
        assert -made // 1000 < foreseen.clusters - made + fat.MARGIN // 2 < fat.MARGIN


POUR = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
os.umask(int(sys.argv[5]))
import test_tool_filesystems_fat as own
own.pour(Path(sys.argv[3]), Path(sys.argv[4]), 64 * 2**20)
"""


@needs_fat
def test_equal_trees_make_equal_bytes(tmp_path: Path) -> None:
    """Another directory, another order of creation, other atimes, time zone, umask and hour."""
    sums = set()
    for number, (zone, mask) in enumerate((("UTC", 0o022), ("Asia/Tokyo", 0o077))):
        tree, image = tmp_path / f"place {number}" / "tree", tmp_path / f"image{number}"
        tree.mkdir(parents=True)
        time.sleep(2.1 * number)  # FAT counts in steps of two seconds
        names = [f"file {name}" for name in range(50)]
        for name in names[:: 1 - 2 * number]:
            (tree / name).write_text(name)
        boot_tree(tree)
        for path in tree.rglob("*"):
            os.utime(path, (EPOCH + number * 10**6, EPOCH), follow_symlinks=False)
        here = str(Path(__file__).parent)
        subprocess.run(
            [sys.executable, "-c", POUR, SOURCES, here, str(tree), str(image), str(mask)],
            env={**os.environ, "TZ": zone, "SOURCE_DATE_EPOCH": str(EPOCH)},
            check=True,
        )
        sums.add(hashlib.sha256(image.read_bytes()).hexdigest())
    assert len(sums) == 1


@needs_mkswap
def test_mkswap_writes_the_same_header(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    size = 16 * MIB
    for path in (ours, theirs):
        path.write_bytes(bytes(size))
        path.chmod(0o600)
    placed = Placed(filesystem=SWAP, offset=Size(0), size=Size(size))
    swap.make(placed, tmp_path, ours, Recorder())
    argv = ("mkswap", "-p", "4096", "-L", SWAP.label, "-U", str(SWAP.uuid), os.fspath(theirs))
    run(Command(argv))
    assert ours.read_bytes() == theirs.read_bytes()

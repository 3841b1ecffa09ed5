import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.boot import grub
from imagebuilder.boot.grub_bios import embed
from imagebuilder.boot.grub_efi import vendor_of
from imagebuilder.boot.grub_home import ENVIRONMENT
from imagebuilder.boot.model import BootBlocks
from imagebuilder.disk.model import Device, Disk, Filesystem, Partition, Partitioning, Table
from imagebuilder.process import Command, Result, find, run
from imagebuilder.sizes import Size

LIBRARY = Path("/usr/lib/grub")
SETUP = LIBRARY / "i386-pc/grub-bios-setup"
MONOLITHIC = LIBRARY / "x86_64-efi/monolithic/grubx64.efi"
MIB = 2**20
TABLES = {
    "msdos": "label: dos\nlabel-id: 0x1badcafe\nstart=2048, type=83, bootable\n",
    "gpt": "label: gpt\nfirst-lba: 2048\nstart=2048, size=2048, "
    "type=21686148-6449-6E6F-744E-656564454649\nstart=4096\n",
}
EMBEDDING = {"msdos": (1, 2047), "gpt": (2048, 2048)}

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("grub-mkimage") is None, reason="needs grub-mkimage"),
    pytest.mark.skipif(not SETUP.parent.exists(), reason="needs GRUB's modules for BIOS"),
]


def inside(tree: Path, command: Command) -> Result:
    """Run grub-mkimage as if `tree` were `/`."""
    argv = tuple(str(tree) + word if _is_file(tree, word) else word for word in command.argv)
    return run(Command(argv, command.env))


def _is_file(tree: Path, word: str) -> bool:
    return word.startswith(("/boot/grub/", "/usr/lib/")) and Path(str(tree) + word).parent.is_dir()


def disk() -> Disk:
    bios = Partition(name="BSP", base="image0", type="EF02", size=Size(MIB))
    table = Partitioning(
        name="t", base="image0", label=Table.GPT, align=Size(MIB), partitions=(bios,)
    )
    filesystems = tuple(
        Filesystem(
            name=name, base=name, type=kind, label=name, uuid=UUID(int=number), mount_point=point
        )
        for number, (name, kind, point) in enumerate(
            (("root", "ext4", "/"), ("esp", "vfat", "/boot/efi")), start=1
        )
    )
    return Disk(devices=(Device(name="image0"),), partitionings=(table,), filesystems=filesystems)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for target in ("i386-pc", "x86_64-efi"):
        if (LIBRARY / target).exists():
            shutil.copytree(LIBRARY / target, tree / "usr/lib/grub" / target)
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "boot/grub/grub.cfg").write_text("menuentry x { true }\n")
    return tree


def install(tree: Path) -> BootBlocks:
    return grub.install(tree, disk(), lambda command: inside(tree, command), table="gpt")


def partitioned(image: Path, table: str) -> None:
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    run(Command(("sfdisk", "-q", str(image)), stdin=TABLES[table].encode()))


def lay(image: Path, blocks: BootBlocks, table: str) -> None:
    with image.open("r+b") as file:
        for offset, piece in embed(blocks, file.read(512), *EMBEDDING[table]):
            file.seek(offset)
            file.write(piece)


def written(tree: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((tree / "boot").rglob("*")):
        if path.is_file():
            yield str(path.relative_to(tree)), path.read_bytes()


def test_two_installations_are_equal(tree: Path) -> None:
    first, before = install(tree), dict(written(tree))
    assert install(tree) == first
    assert dict(written(tree)) == before


def test_the_core_fits_behind_an_mbr_and_has_its_boot_sector(tree: Path) -> None:
    blocks = install(tree)
    assert len(blocks.boot) == 512
    assert 20_000 < len(blocks.core) < 100_000
    assert blocks.boot.endswith(b"\x55\xaa")


@pytest.mark.skipif(not MONOLITHIC.exists(), reason="needs GRUB's modules for UEFI")
def test_the_loader_for_uefi_is_a_program_for_it(tree: Path) -> None:
    install(tree)
    loader = (tree / "boot/efi/EFI/BOOT/BOOTX64.EFI").read_bytes()
    header = int.from_bytes(loader[0x3C:0x40], "little")
    assert loader[header : header + 6] == b"PE\0\0\x64\x86"
    assert vendor_of(loader) == "linux"


@pytest.mark.skipif(not MONOLITHIC.exists(), reason="needs Debian's monolithic GRUB")
def test_the_vendor_is_found_in_a_distributions_loader() -> None:
    assert vendor_of(MONOLITHIC.read_bytes()) == "debian"


@pytest.mark.skipif(find("grub-editenv") is None, reason="needs grub-editenv")
def test_the_environment_block_is_grub_editenvs(tmp_path: Path) -> None:
    run(Command(("grub-editenv", str(tmp_path / "grubenv"), "create")))
    assert (tmp_path / "grubenv").read_bytes() == ENVIRONMENT


@pytest.mark.skipif(find("sfdisk") is None, reason="needs sfdisk")
@pytest.mark.parametrize("table", ["msdos", "gpt"])
def test_the_partition_table_is_the_same_afterwards(tree: Path, tmp_path: Path, table: str) -> None:
    image = tmp_path / "disk.raw"
    partitioned(image, table)
    before = run(Command(("sfdisk", "--dump", str(image)))).output
    lay(image, install(tree), table)
    assert run(Command(("sfdisk", "--dump", str(image)))).output == before


@pytest.mark.skipif(find("sfdisk") is None, reason="needs sfdisk")
@pytest.mark.skipif(not SETUP.exists(), reason="needs grub-bios-setup")
@pytest.mark.skipif(os.geteuid() != 0, reason="bind-mounts over /proc/self/mountinfo")
@pytest.mark.parametrize("table", ["msdos", "gpt"])
def test_the_disk_is_what_grub_bios_setup_makes(tree: Path, tmp_path: Path, table: str) -> None:
    ours, theirs, files = tmp_path / "ours.raw", tmp_path / "theirs.raw", tmp_path / "files"
    blocks = install(tree)
    partitioned(ours, table)
    shutil.copy(ours, theirs)
    lay(ours, blocks, table)
    files.mkdir()
    (files / "boot.img").write_bytes(blocks.boot)
    (files / "core.img").write_bytes(blocks.core)
    bios_setup(files, theirs)
    assert ours.read_bytes() == theirs.read_bytes()


def bios_setup(files: Path, image: Path) -> None:
    """Run GRUB's own tool, which wants its directory to be on the disk that it writes to."""
    mounts = files / "mountinfo"
    mounts.write_text(f"1 0 1:1 / / - fat {image} rw\n")
    script = 'mount --bind "$0" /proc/$$/mountinfo && exec "$@"'
    setup = (str(SETUP), "--no-rs-codes", "--directory", str(files), str(image))
    namespace = ("unshare", "--mount", "sh", "-c", script, str(mounts))
    done = subprocess.run((*namespace, *setup), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.boot import grub
from imagebuilder.boot.grub_efi import TARGETS, layout, vendor_of
from imagebuilder.boot.grub_home import GRUB, find_home, furnish
from imagebuilder.boot.model import EMPTY
from imagebuilder.disk.model import Device, Disk, Filesystem, Partition, Partitioning, Table
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.process import Command, Result
from imagebuilder.sizes import Size

ROOT = UUID("11111111-2222-3333-4444-555555555555")
BOOT = UUID("99999999-2222-3333-4444-5555abcd1234")
BIOS_BOOT = Partition(name="BSP", base="image0", type="EF02", size=Size(2**20))


class Grub:
    """A Runner that stands for grub-mkimage in a tree: the image says how it was made."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.commands: list[Command] = []

    def __call__(self, command: Command) -> Result:
        self.commands.append(command)
        argv = command.argv
        script = ""
        if "-c" in argv:
            script = (self.tree / argv[argv.index("-c") + 1].lstrip("/")).read_text()
        target = self.tree / argv[argv.index("-o") + 1].lstrip("/")
        target.write_text(f"image for {argv[argv.index('-O') + 1]}\n{script}")
        return Result(command, 0, "")


def filesystem(name: str, point: str, kind: str = "ext4", uuid: UUID = ROOT) -> Filesystem:
    return Filesystem(name=name, base=name, type=kind, label=name, uuid=uuid, mount_point=point)


def disk(
    *more: Filesystem, sector: int = 512, partitions: tuple[Partition, ...] = (BIOS_BOOT,)
) -> Disk:
    table = Partitioning(
        name="table", base="image0", label=Table.GPT, align=Size(2**20), partitions=partitions
    )
    return Disk(
        devices=(Device(name="image0", sector=sector),),
        partitionings=(table,),
        filesystems=(filesystem("root", "/"), *more),
    )


ESP = filesystem("esp", "/boot/efi", "vfat")


def put(tree: Path, path: str, content: bytes) -> None:
    file = tree / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, "boot/grub/grub.cfg", b"menu")
    put(tmp_path, "etc/os-release", b'NAME="Some System"\nID=some\nID_LIKE=debian\n')
    return tmp_path


@pytest.fixture
def bios(tree: Path) -> Path:
    put(tree, "usr/lib/grub/i386-pc/boot.img", b"b" * 512)
    put(tree, "usr/lib/grub/i386-pc/normal.mod", b"normal")
    put(tree, "usr/lib/grub/i386-pc/fs.lst", b"list")
    put(tree, "usr/lib/grub/i386-pc/kernel.img", b"kernel")
    return tree


@pytest.fixture
def efi(tree: Path) -> Path:
    put(tree, "usr/lib/grub/x86_64-efi/moddep.lst", b"list")
    put(tree, "usr/lib/grub/x86_64-efi/normal.mod", b"normal")
    return tree


@pytest.fixture
def signed(efi: Path) -> Path:
    put(efi, "usr/lib/shim/shimx64.efi.signed", b"shim")
    put(efi, "usr/lib/shim/mmx64.efi", b"keys")
    grub = b"MZ\0\0/EFI/vendor\0\0"
    put(efi, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", grub)
    return efi


def test_bios_boot_blocks_are_boot_img_and_a_core_that_searches_the_root(bios: Path) -> None:
    blocks = grub.install(bios, disk(), Grub(bios), table="gpt")
    assert blocks.boot == b"b" * 512
    assert blocks.core.decode() == (
        f"image for i386-pc\nsearch.fs_uuid {ROOT} root\nset prefix=($root)'/boot/grub'\n"
    )


def test_the_core_can_read_both_kinds_of_table_and_the_filesystem(bios: Path) -> None:
    inside = Grub(bios)
    grub.install(bios, disk(), inside, table="gpt")
    assert inside.commands[0].argv[-5:] == (
        "biosdisk", "part_gpt", "part_msdos", "ext2", "search_fs_uuid",
    )  # fmt: skip


def test_modules_and_lists_are_copied_and_nothing_else(bios: Path) -> None:
    grub.install(bios, disk(), Grub(bios), table="gpt")
    copied = sorted(path.name for path in (bios / "boot/grub/i386-pc").iterdir())
    assert copied == ["fs.lst", "normal.mod"]


def test_no_temporary_file_stays_in_the_tree(bios: Path) -> None:
    grub.install(bios, disk(), Grub(bios), table="gpt")
    found = sorted(path.name for path in (bios / "boot/grub").iterdir())
    assert found == ["grub.cfg", "grubenv", "i386-pc"]


def test_an_environment_block_is_made_once(bios: Path) -> None:
    grub.install(bios, disk(), Grub(bios), table="gpt")
    block = bios / "boot/grub/grubenv"
    assert len(block.read_bytes()) == 1024
    block.write_bytes(b"saved_entry=1")
    furnish(bios, GRUB, "i386-pc")
    assert block.read_bytes() == b"saved_entry=1"


def test_the_font_comes_along(bios: Path) -> None:
    put(bios, "usr/share/grub/unicode.pf2", b"font")
    grub.install(bios, disk(), Grub(bios), table="msdos")
    assert (bios / "boot/grub/fonts/unicode.pf2").read_bytes() == b"font"


def test_with_a_filesystem_for_boot_grub_is_found_there() -> None:
    home = find_home(disk(filesystem("boot", "/boot", "xfs", BOOT), ESP), GRUB)
    assert (home.uuid, home.path, home.reader) == (str(BOOT), "/grub", "xfs")


def test_a_vfat_is_found_by_its_serial_number() -> None:
    assert filesystem("boot", "/boot", "vfat", BOOT).shown_uuid == "ABCD-1234"


def test_a_filesystem_that_grub_cannot_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"filesystem boot: .*read erofs.*\n.*ext4"):
        find_home(disk(filesystem("boot", "/boot", "erofs")), GRUB)


def test_without_grub_cfg_there_is_no_menu(bios: Path) -> None:
    (bios / "boot/grub/grub.cfg").unlink()
    with pytest.raises(BuildError, match=r"there is no /boot/grub/grub.cfg\n.*finalise\.d"):
        grub.install(bios, disk(), Grub(bios), table="gpt")


def test_no_loader_in_the_tree_names_the_packages(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"no GRUB.*\n.*grub-pc-bin, grub-efi-amd64-bin"):
        grub.install(tree, disk(ESP), Grub(tree), table="gpt")


def test_only_the_packages_for_this_disk_are_named(tree: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        grub.install(tree, disk(), Grub(tree), table="msdos")
    assert "grub-pc-bin" in caught.value.hint
    assert "efi" not in caught.value.hint


def test_a_disk_without_a_place_for_a_loader_is_refused(bios: Path) -> None:
    with pytest.raises(ConfigError, match=r"no place for a boot loader\n.*EF02"):
        grub.install(bios, disk(partitions=()), Grub(bios), table="gpt")


@pytest.mark.parametrize(
    ("table", "partitions", "sector", "takes"),
    [
        ("msdos", (), 512, True),
        ("gpt", (BIOS_BOOT,), 512, True),
        ("gpt", (), 512, False),
        ("none", (), 512, False),
        ("gpt", (BIOS_BOOT,), 4096, False),
    ],
)
def test_where_bios_boot_blocks_fit(
    table: str, partitions: tuple[Partition, ...], sector: int, *, takes: bool
) -> None:
    assert grub.takes_bios(disk(partitions=partitions, sector=sector), table) is takes


def test_an_unsigned_loader_is_what_the_firmware_starts(efi: Path) -> None:
    inside = Grub(efi)
    assert grub.install(efi, disk(ESP, partitions=()), inside, table="gpt") == EMPTY
    esp = efi / "boot/efi/EFI"
    loader = b"image for x86_64-efi\n"
    assert (esp / "BOOT/BOOTX64.EFI").read_bytes() == loader
    assert (esp / "some/grubx64.efi").read_bytes() == loader
    assert inside.commands[0].argv[5:7] == ("-p", "/EFI/some")


def test_the_loader_on_the_esp_goes_on_to_grubs_directory(efi: Path) -> None:
    grub.install(efi, disk(ESP, partitions=()), Grub(efi), table="gpt")
    assert (efi / "boot/efi/EFI/some/grub.cfg").read_text() == (
        f"search.fs_uuid {ROOT} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    )
    assert (efi / "boot/grub/x86_64-efi/normal.mod").read_bytes() == b"normal"


def test_signed_loaders_are_preferred_and_keep_their_vendors_directory(signed: Path) -> None:
    inside = Grub(signed)
    grub.install(signed, disk(ESP, partitions=()), inside, table="gpt")
    esp = signed / "boot/efi/EFI"
    found = {str(path.relative_to(esp)) for path in esp.rglob("*") if path.is_file()}
    assert found == {
        "BOOT/BOOTX64.EFI", "BOOT/grubx64.efi", "BOOT/mmx64.efi",
        "vendor/shimx64.efi", "vendor/grubx64.efi", "vendor/mmx64.efi", "vendor/grub.cfg",
    }  # fmt: skip
    assert (esp / "BOOT/BOOTX64.EFI").read_bytes() == b"shim"
    assert inside.commands == []


def test_a_signed_grub_without_shim_is_not_used(signed: Path) -> None:
    (signed / "usr/lib/shim/shimx64.efi.signed").unlink()
    grub.install(signed, disk(ESP, partitions=()), Grub(signed), table="gpt")
    loader = signed / "boot/efi/EFI/BOOT/BOOTX64.EFI"
    assert loader.read_bytes() == b"image for x86_64-efi\n"


def test_bios_and_uefi_come_together(bios: Path, signed: Path) -> None:
    assert bios == signed
    blocks = grub.install(bios, disk(ESP), Grub(bios), table="gpt")
    assert blocks.core.startswith(b"image for i386-pc")
    assert (bios / "boot/efi/EFI/BOOT/BOOTX64.EFI").exists()


def test_without_an_esp_no_efi_file_is_written(bios: Path, signed: Path) -> None:
    grub.install(signed, disk(), Grub(bios), table="gpt")
    assert not (signed / "boot/efi").exists()


def test_arm_has_its_own_names() -> None:
    arm = TARGETS[1]
    files = layout(arm, "debian", {"shimaa64.efi": b"shim", "grubaa64.efi": b"grub"})
    assert files == {
        "debian/shimaa64.efi": b"shim",
        "debian/grubaa64.efi": b"grub",
        "BOOT/BOOTAA64.EFI": b"shim",
        "BOOT/grubaa64.efi": b"grub",
    }


def test_a_loader_without_a_directory_of_its_own_has_no_vendor() -> None:
    assert vendor_of(b"MZ\0/boot/grub\0") == ""


def test_a_link_in_the_tree_cannot_lead_the_loader_out_of_it(
    efi: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (efi / "boot/efi").mkdir()
    (efi / "boot/efi/EFI").symlink_to(outside)
    with pytest.raises(FileNotFoundError):
        grub.install(efi, disk(ESP, partitions=()), Grub(efi), table="gpt")
    assert list(outside.iterdir()) == []

"""GRUB as the families of Red Hat and SUSE call it and bring it."""

from pathlib import Path

import pytest

from imagebuilder.boot import grub
from imagebuilder.boot.grub_home import GRUB, GRUB2, find_home, names_in
from imagebuilder.errors import BuildError, ConfigError
from tests.unit.boot.test_boot_grub import ESP, Grub, disk, put

VENDOR = "boot/efi/EFI/centos"
FIRST = "boot/efi/EFI/BOOT"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, "usr/sbin/grub2-mkconfig", b"")
    put(tmp_path, "boot/grub2/grub.cfg", b"menu")
    return tmp_path


@pytest.fixture
def bios(tree: Path) -> Path:
    put(tree, "usr/lib/grub/i386-pc/boot.img", b"boot")
    put(tree, "usr/lib/grub/i386-pc/normal.mod", b"module")
    return tree


@pytest.fixture
def brought(tree: Path) -> Path:
    """The files of the packages shim-x64 and grub2-efi-x64."""
    for name in ("shimx64.efi", "grubx64.efi", "mmx64.efi"):
        put(tree, f"{VENDOR}/{name}", name.encode())
    put(tree, f"{FIRST}/BOOTX64.EFI", b"shimx64.efi")
    put(tree, f"{FIRST}/fbx64.efi", b"fallback")
    return tree


def test_programs_tell_what_grub_is_called(tree: Path, tmp_path_factory: pytest.TempPathFactory):
    assert names_in(tree) == GRUB2
    assert names_in(tmp_path_factory.mktemp("other")) == GRUB


def test_its_directory_is_boot_grub2(bios: Path) -> None:
    blocks = grub.install(bios, disk(), Grub(bios), table="gpt")
    assert b"'/boot/grub2'" in blocks.core
    assert (bios / "boot/grub2/i386-pc/normal.mod").read_bytes() == b"module"
    assert not (bios / "boot/grub").exists()


def test_its_program_is_grub2_mkimage(bios: Path) -> None:
    run = Grub(bios)
    grub.install(bios, disk(), run, table="gpt")
    assert [command.argv[0] for command in run.commands] == ["grub2-mkimage"]


def test_a_dangling_environment_block_is_replaced(bios: Path) -> None:
    (bios / "boot/grub2/grubenv").symlink_to("/boot/efi/EFI/centos/grubenv")
    grub.install(bios, disk(), Grub(bios), table="gpt")
    assert (bios / "boot/grub2/grubenv").read_bytes().startswith(b"# GRUB Environment Block\n")


def test_a_missing_menu_is_named(tree: Path) -> None:
    (tree / "boot/grub2/grub.cfg").unlink()
    with pytest.raises(BuildError, match=r"/boot/grub2/grub\.cfg"):
        grub.install(tree, disk(), Grub(tree), table="gpt")


def test_missing_packages_have_this_familys_names(tree: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        grub.install(tree, disk(ESP), Grub(tree), table="gpt")
    assert "grub2-pc-modules, grub2-efi-x64, grub2-efi-aa64" in str(refused.value)


def test_what_packages_have_brought_stays_and_gets_the_way_to_the_menu(brought: Path) -> None:
    run = Grub(brought)
    grub.install(brought, disk(ESP), run, table="none")
    assert not run.commands
    assert {path.name for path in (brought / FIRST).iterdir()} == {"BOOTX64.EFI", "fbx64.efi"}
    assert (brought / VENDOR / "grub.cfg").read_text() == (
        find_home(disk(ESP), GRUB2).script + "configfile $prefix/grub.cfg\n"
    )


def test_without_the_fallback_program_grub_lies_beside_shim(brought: Path) -> None:
    (brought / FIRST / "fbx64.efi").unlink()
    grub.install(brought, disk(ESP), Grub(brought), table="none")
    assert (brought / FIRST / "grubx64.efi").read_bytes() == b"grubx64.efi"
    assert (brought / FIRST / "mmx64.efi").read_bytes() == b"mmx64.efi"


def test_without_what_the_firmware_starts_shim_is_copied_there(brought: Path) -> None:
    (brought / FIRST / "BOOTX64.EFI").unlink()
    grub.install(brought, disk(ESP), Grub(brought), table="none")
    assert (brought / FIRST / "BOOTX64.EFI").read_bytes() == b"shimx64.efi"

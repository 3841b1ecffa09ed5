"""Where the filesystems of a disk belong, and what goes back into a FAT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.existing import grow, mounts, release, vfat
from imagebuilder.existing.model import ESP, XBOOTLDR, Area, Signature
from imagebuilder.sizes import Size


def area(number: int, kind: str = "ext4", **values: str) -> Area:
    content = Signature(type=kind, label=f"L{number}", uuid=f"0000-000{number}")
    made = Area(number=number, offset=Size(number << 20), size=Size(1 << 20), content=content)
    return replace(made, **values)


ROOT = area(1, type=mounts.ROOT_TYPES[0], uuid="aaaa-01", name="root part")
BOOT = area(2, "ext2", type=XBOOTLDR)
EFI = area(15, "vfat", type=ESP)
HOME = area(3, "btrfs")
SWAP = area(4, "swap")
ALL = (ROOT, BOOT, HOME, SWAP, EFI)


def points(fstab: str, areas: tuple[Area, ...] = ALL) -> dict[str, int]:
    return {m.point: m.area.number for m in mounts.plan(ROOT, areas, fstab)[0]}


@pytest.mark.parametrize(
    "source",
    [
        "UUID=0000-0003",
        'UUID="0000-0003"',
        "LABEL=L3",
        "/dev/disk/by-uuid/0000-0003",
        "/dev/disk/by-label/L3",
        "/dev/vda3",
        "/dev/nvme0n1p3",
    ],
)
def test_fstab_names_filesystems_in_many_ways(source: str) -> None:
    assert points(f"{source} /home btrfs defaults 0 2", (ROOT, HOME)) == {"/home": 3}


def test_partitions_are_named_by_table_too() -> None:
    assert mounts.resolve("PARTUUID=AAAA-01", ALL) is ROOT
    assert mounts.resolve("PARTLABEL=root part", ALL) is ROOT
    assert mounts.resolve("LABEL=", ALL) is None


def test_root_swap_and_what_is_not_on_a_disk_are_not_mounted_below() -> None:
    text = (
        "# a comment\nLABEL=L1 / ext4 x 0 1\nLABEL=L4 none swap sw 0 0\ntmpfs /tmp tmpfs\n"
        "//server/share /mnt cifs\nproc /proc proc\n"
    )
    assert mounts.plan(ROOT, (ROOT, SWAP), text) == ((), [])


def test_a_source_that_is_not_there_is_told() -> None:
    found, missing = mounts.plan(
        ROOT, (ROOT,), "UUID=dead /data ext4\n/dev/mapper/vg-x /var ext4\n"
    )
    assert found == ()
    assert missing == ["UUID=dead on /data", "/dev/mapper/vg-x on /var"]


def test_outer_filesystems_come_before_inner_ones() -> None:
    text = "LABEL=L15 /boot/efi vfat\nLABEL=L2 /boot ext2\n"
    assert list(points(text)) == ["/boot", "/boot/efi"]


def test_boot_partitions_that_fstab_is_silent_about_go_where_they_belong() -> None:
    assert points("") == {"/boot": 2, "/boot/efi": 15}
    assert points("LABEL=L15 /efi vfat\n") == {"/boot": 2, "/efi": 15}


def test_subvolumes_and_spaces_are_understood() -> None:
    text = "LABEL=L3 / btrfs subvol=@,compress=zstd\nLABEL=L3 /my\\040home btrfs subvol=@home\n"
    (found,) = mounts.plan(HOME, (HOME,), text)[0]
    assert (found.point, found.subvolume) == ("/my home", "@home")
    assert mounts.root_subvolume(text) == "@"


def test_a_partition_that_says_it_is_a_root_is_looked_at_first() -> None:
    found = mounts.candidates((BOOT, HOME, SWAP, EFI, ROOT))
    assert [each.number for each in found] == [1, 3, 2]


def test_the_system_is_named_as_diskimage_builder_does() -> None:
    text = 'NAME="openSUSE Leap"\nID="opensuse-leap"\nVERSION_ID="15.6"\nBROKEN="\n'
    assert release.variables(text) == {"DISTRO_NAME": "opensuse", "DIB_RELEASE": "15.6"}
    text = "ID=debian\nVERSION_CODENAME=trixie\nVERSION_ID=13\n"
    assert release.variables(text) == {"DISTRO_NAME": "debian", "DIB_RELEASE": "trixie"}
    assert release.variables("") == {}


BEFORE = {"EFI": "", "EFI/BOOT": "", "EFI/BOOT/BOOTX64.EFI": "1", "EFI/old": "", "EFI/old/x": "2"}


def test_equal_directories_have_no_changes() -> None:
    assert vfat.compare(BEFORE, BEFORE) == vfat.Changes()


def test_changes_of_a_fat_are_made_in_an_order_that_works() -> None:
    now = {"EFI": "", "EFI/BOOT": "", "EFI/BOOT/BOOTX64.EFI": "9", "EFI/new": "", "EFI/new/y": "3"}
    assert vfat.compare(BEFORE, now) == vfat.Changes(
        delete_trees=("EFI/old",),
        make=("EFI/new",),
        copy=(("EFI/BOOT/BOOTX64.EFI",) * 2, ("EFI/new/y",) * 2),
    )


def test_capitals_make_no_other_file_on_a_fat() -> None:
    now = {**BEFORE, "EFI/boot": "", "EFI/boot/bootx64.efi": "9"}
    del now["EFI/BOOT/BOOTX64.EFI"]
    changes = vfat.compare(BEFORE, now)
    assert changes.copy == (("EFI/boot/bootx64.efi", "EFI/BOOT/BOOTX64.EFI"),)
    assert not changes.make
    assert not changes.delete


def test_a_file_in_the_place_of_a_directory_is_made_after_that_is_gone() -> None:
    now = {"EFI": "", "EFI/BOOT": "", "EFI/BOOT/BOOTX64.EFI": "1", "EFI/old": "7"}
    changes = vfat.compare(BEFORE, now)
    assert changes.delete_trees == ("EFI/old",)
    assert changes.copy == (("EFI/old", "EFI/old"),)


def test_filesystems_grow_by_their_own_programs() -> None:
    device, point = Path("/dev/loop7"), Path("/tree")
    assert grow.command("xfs", device, point).argv == ("xfs_growfs", "/tree")
    assert grow.command("btrfs", device, point).argv[-2:] == ("max", "/tree")

from dataclasses import replace
from uuid import UUID

import pytest

from imagebuilder.disk.model import Filesystem
from imagebuilder.filesystems import ext, ext_size, fat, swap, vfat
from imagebuilder.filesystems import measure as of
from imagebuilder.filesystems.measure import Loss, Measured

MIB = 2**20
EXT4 = Filesystem(name="root", base="sda", type="ext4", label="root", uuid=UUID(int=1))
EMPTY = Measured(
    inodes=1, files=0, data=0, expanded=0, sparse=0, directories=((0, 0),), attributes=0,
    attribute_blocks=0, apparent=4096,
)  # fmt: skip


def with_options(*options: str, kind: str = "ext4") -> Filesystem:
    return replace(EXT4, type=kind, options=options)


def test_more_data_needs_more_room() -> None:
    sizes = [ext.needed(EXT4, replace(EMPTY, data=data * MIB)) for data in (0, 10, 100, 1000)]
    assert sizes == sorted(set(sizes))
    assert all(
        size - data * MIB < 20 * MIB + data * MIB // 5
        for size, data in zip(sizes, (0, 10, 100, 1000), strict=True)
    )


def test_many_inodes_need_room_by_the_ratio() -> None:
    many = replace(EMPTY, inodes=100_000)
    assert ext.needed(EXT4, many) >= 100_000 * 4096
    assert ext.needed(with_options("-i", "8192"), many) >= 100_000 * 8192
    assert ext.needed(with_options("-i8192"), many) == ext.needed(with_options("-i", "8192"), many)
    assert ext.needed(with_options("-N", "200000"), many) < 100_000 * 1024


def test_a_journal_is_at_most_half_of_what_is_free() -> None:
    assert ext.needed(with_options("-J", "size=64"), EMPTY) > 128 * MIB
    assert ext.needed(with_options(kind="ext2"), replace(EMPTY, data=MIB)) < 3 * MIB


def test_room_to_grow_is_kept_when_asked_for() -> None:
    content = replace(EMPTY, data=10 * MIB)
    grown = ext.needed(with_options("-E", "resize=4000000000"), content)
    assert grown > ext.needed(EXT4, content)


def test_attributes_and_listings_need_room() -> None:
    base = ext.needed(EXT4, replace(EMPTY, data=10 * MIB))
    assert ext.needed(EXT4, replace(EMPTY, data=10 * MIB, attribute_blocks=1000)) > base + 3 * MIB
    large = replace(EMPTY, data=10 * MIB, directories=((5000, 1_000_000),))
    assert ext.needed(EXT4, large) > base + MIB


def test_the_ratio_is_mke2fs_own() -> None:
    assert ext_size.default_ratio(512 * MIB - 1) == 4096
    assert ext_size.default_ratio(512 * MIB) == 16384


@pytest.mark.parametrize(
    ("size", "sector", "bits", "cluster"),
    [
        (MIB, 512, 12, 512),
        (8 * MIB, 512, 16, 512),
        (64 * MIB, 512, 32, 512),
        (259 * MIB, 512, 32, 512),
        (550 * MIB, 512, 32, 4096),
        (8 * MIB, 4096, 12, 4096),
        (64 * MIB, 4096, 16, 4096),
        (550 * MIB, 4096, 32, 4096),
    ],
)
def test_the_kind_of_fat_is_the_one_that_its_clusters_make(
    size: int, sector: int, bits: int, cluster: int
) -> None:
    made = fat.shape(size, sector)
    assert made is not None
    assert (made.bits, made.cluster) == (bits, cluster)
    assert fat.bits(made.clusters) == bits


def test_there_is_no_fat_without_clusters() -> None:
    assert fat.shape(4096, 512) is None


@pytest.mark.parametrize("sector", [512, 4096])
def test_every_size_has_a_kind_that_is_not_near_a_bound(sector: int) -> None:
    for size in range(MIB, 600 * MIB, 1_234_944):
        made = fat.shape(size, sector)
        assert made is not None
        assert all(fat.bits(made.clusters + by) == made.bits for by in (-30, 30))


def test_fat_needs_room_for_holes_and_every_name_of_a_file() -> None:
    content = replace(EMPTY, files=2, data=MIB, expanded=10 * MIB)
    assert 10 * MIB < vfat.needed(EXT4, content) < 11 * MIB


def test_swap_needs_ten_pages() -> None:
    assert swap.needed(EXT4, EMPTY) == 40960


def test_what_a_filesystem_does_not_keep_is_named() -> None:
    kinds = (of.SYMLINK, of.OWNER, of.NANOSECONDS, of.AFTER_2037, of.OUT_OF_RANGE, of.HARD_LINK)
    full = replace(EMPTY, found={kind: Loss(kind, 1, ("/x",)) for kind in kinds})
    lost = {
        "ext4": [loss.what for loss in ext.losses(EXT4, full)],
        "old": [loss.what for loss in ext.losses(with_options("-I", "128"), full)],
        "vfat": [loss.what for loss in vfat.losses(EXT4, full)],
        "swap": [loss.what for loss in swap.losses(EXT4, full)],
    }
    assert lost == {
        "ext4": [of.OUT_OF_RANGE],
        "old": [of.AFTER_2037, of.OUT_OF_RANGE],
        "vfat": [of.SYMLINK, of.OWNER],
        "swap": [],
    }

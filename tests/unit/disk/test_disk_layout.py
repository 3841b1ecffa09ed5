from dataclasses import replace
from uuid import UUID

import pytest

from imagebuilder.disk.layout import Demand, image_size, layout, smallest
from imagebuilder.disk.model import (
    Device,
    Disk,
    Filesystem,
    Layout,
    Partition,
    Partitioning,
    Table,
)
from imagebuilder.errors import ConfigError, SpaceError
from imagebuilder.sizes import Size

MIB, GIB = 2**20, 2**30
DEVICE = Device(name="image0", uuid=UUID(int=0xABCD))


def part(
    name: str, size: int | None = None, percent: float | None = None, **more: object
) -> Partition:
    return Partition(
        name=name,
        base="image0",
        size=None if size is None else Size(size),
        percent=percent,
        **more,  # type: ignore[arg-type]
    )


def disk(*partitions: Partition, label: Table = Table.GPT, **filesystems: str) -> Disk:
    """A disk whose `filesystems` map a partition (or device) to a mount point."""
    table = Partitioning(
        name="table", base="image0", label=label, align=Size(MIB), partitions=partitions
    )
    made = [
        Filesystem(
            name=f"mkfs_{base}",
            base=base,
            type="ext4",
            label=base,
            uuid=UUID(int=1),
            mount_point=at,
        )
        for base, at in filesystems.items()
    ]
    return Disk(
        devices=(DEVICE,),
        partitionings=(table,) if partitions else (),
        filesystems=tuple(made),
    )


EFI = disk(
    part("esp", 64 * MIB, type="EF00"),
    part("bios", 8 * MIB, type="EF02"),
    part("root", percent=100),
    esp="/boot/efi",
    root="/",
)
BARE = disk(image0="/")


def places(made: Layout) -> list[tuple[int, int, int]]:
    return [(slot.number, slot.offset, slot.size) for slot in made.slots]


def test_a_gpt_disk_is_used_from_the_first_mebibyte_to_the_backup_table() -> None:
    made = layout(EFI, DEVICE, Size(GIB), {})
    end = GIB - 33 * 512
    assert places(made) == [
        (1, MIB, 64 * MIB),
        (2, 65 * MIB, 8 * MIB),
        (3, 73 * MIB, (end - 73 * MIB) // 4096 * 4096),
    ]
    assert [placed.offset for placed in made.placed] == [MIB, 73 * MIB]
    assert [placed.filesystem.name for placed in made.placed] == ["mkfs_esp", "mkfs_root"]
    assert made.table is Table.GPT


def test_a_boot_loader_fits_in_the_bios_boot_partition_of_a_gpt() -> None:
    assert layout(EFI, DEVICE, Size(GIB), {}).embedding == (65 * MIB // 512, 16384)
    without = disk(part("root", percent=100), root="/")
    assert layout(without, DEVICE, Size(GIB), {}).embedding is None


def test_a_boot_loader_fits_before_the_first_partition_of_an_mbr() -> None:
    primary = disk(part("root", percent=100, primary=True), label=Table.MBR, root="/")
    assert layout(primary, DEVICE, Size(GIB), {}).embedding == (1, 2047)
    logical = disk(part("root", percent=100), label=Table.MBR, root="/")
    assert layout(logical, DEVICE, Size(GIB), {}).embedding == (1, 2047)


def test_large_sectors_move_tables_but_not_partitions() -> None:
    device = replace(DEVICE, sector=4096)
    made = layout(EFI, device, Size(GIB), {})
    assert made.slots[0].offset == MIB
    assert made.slots[-1].offset + made.slots[-1].size == GIB - 5 * 4096
    assert made.embedding == (65 * MIB // 4096, 2048)
    assert {placed.sector for placed in made.placed} == {4096}


def test_a_percentage_is_of_what_is_free_at_that_point() -> None:
    half = disk(part("a", percent=50), part("b", percent=50), part("root", percent=100), root="/")
    sizes = [slot.size for slot in layout(half, DEVICE, Size(GIB), {}).slots]
    assert [round(size / GIB, 2) for size in sizes] == [0.50, 0.25, 0.25]
    assert all(size % 4096 == 0 for size in sizes)


def test_primaries_come_before_logical_partitions_which_have_tables_of_their_own() -> None:
    made = layout(
        disk(
            part("a", 10 * MIB, primary=True, boot=True),
            part("b", 10 * MIB),
            part("root", percent=100),
            label=Table.MBR,
            root="/",
        ),
        DEVICE,
        Size(100 * MIB),
        {},
    )
    assert places(made) == [
        (1, MIB, 10 * MIB),
        (5, 12 * MIB, 10 * MIB),
        (6, 23 * MIB, 77 * MIB),
    ]
    assert [slot.boot for slot in made.slots] == [True, False, False]


def test_a_number_may_differ_from_the_order_on_the_disk() -> None:
    made = layout(
        disk(part("esp", MIB), part("root", percent=90, number=1), part("c", MIB), root="/"),
        DEVICE,
        Size(GIB),
        {},
    )
    assert [(slot.name, slot.number) for slot in made.slots] == [("esp", 2), ("root", 1), ("c", 3)]


def test_without_a_table_the_filesystem_is_the_disk() -> None:
    made = layout(BARE, DEVICE, Size(GIB), {})
    assert (made.table, made.pieces, made.slots, made.embedding) == (None, (), (), None)
    assert [(placed.offset, placed.size) for placed in made.placed] == [(0, GIB)]


def test_equal_disks_get_equal_bytes_and_others_do_not() -> None:
    made, again = (layout(EFI, DEVICE, Size(GIB), {}) for _ in range(2))
    other = layout(EFI, replace(DEVICE, uuid=UUID(int=5)), Size(GIB), {})
    assert made == again
    assert made.pieces != other.pieces
    assert len({slot.uuid for slot in made.slots} | {slot.uuid for slot in other.slots}) == 6


def test_a_disk_is_whole_sectors() -> None:
    with pytest.raises(ConfigError, match=r"image0: 1000 bytes are not .* 512.*\n.*1024 bytes"):
        layout(BARE, DEVICE, Size(1000), {})


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ([part("a", MIB, number=2), part("b", MIB, number=2)], "number 2 is used twice"),
        ([part("a", MIB, number=5, primary=True)], "only a primary partition can have a number"),
        ([part("a", MIB, number=1)], "only a primary partition can have a number"),
        ([part("a", MIB), part("b", MIB, primary=True)], "All primary partitions must be given"),
        ([part(str(i), MIB, primary=True) for i in range(5)], "more primary .*\n.*label: gpt"),
        ([part(str(i), MIB, primary=i < 4) for i in range(5)], "more primary .*\n.*label: gpt"),
    ],
)
def test_what_an_mbr_cannot_hold_is_refused(partitions: list[Partition], message: str) -> None:
    with pytest.raises(ConfigError, match=f"table: .*{message}"):
        layout(disk(*partitions, label=Table.MBR), DEVICE, Size(GIB), {})


def test_what_a_gpt_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"table: more than 128 partitions"):
        layout(disk(*(part(str(i), 4096) for i in range(129))), DEVICE, Size(GIB), {})


def test_a_disk_too_large_for_an_mbr_is_refused() -> None:
    large = disk(part("root", percent=100, primary=True), label=Table.MBR, root="/")
    with pytest.raises(ConfigError, match=r"too large for an MBR\n.*gpt"):
        layout(large, DEVICE, Size(3 * 2**40), {})


def test_a_partition_that_does_not_fit_is_named_with_a_size_that_would_do() -> None:
    with pytest.raises(SpaceError) as caught:
        layout(EFI, DEVICE, Size(70 * MIB), {})
    assert "70 MiB is too small (no room for partition 'bios' of 8 MiB" in str(caught.value)
    least = Size.parse(str(caught.value).rpartition("at least ")[2])
    assert layout(EFI, DEVICE, least, {}).slots[2].size > 0


def test_nothing_is_left_after_a_hundred_percent() -> None:
    with pytest.raises(SpaceError, match=r"no room, however large"):
        layout(disk(part("a", percent=100), part("root", MIB), root="/"), DEVICE, Size(GIB), {})


def test_a_filesystem_too_large_for_its_share_is_named_with_a_size_that_would_do() -> None:
    needed = {"mkfs_root": Size(GIB)}
    with pytest.raises(
        SpaceError, match=r"image0: 1 GiB is too small .mkfs_root gets .* needs"
    ) as e:
        layout(EFI, DEVICE, Size(GIB), needed)
    least = Size.parse(str(e.value).rpartition("at least ")[2])
    layout(EFI, DEVICE, least, needed)
    with pytest.raises(SpaceError):
        layout(EFI, DEVICE, Size(least - 64 * 1024), needed)


def test_a_fixed_partition_too_small_for_its_filesystem_is_named_with_a_size() -> None:
    with pytest.raises(
        SpaceError, match=r"partition 'esp' has 64 MiB, but its ext4 .* 65 MiB"
    ) as e:
        image_size(EFI, DEVICE, Demand(needed={"mkfs_esp": Size(65 * MIB)}))
    assert "give the partition a size of at least 65 MiB" in str(e.value)


def test_the_smallest_disk_is_the_smallest() -> None:
    needed = {"mkfs_root": Size(100 * MIB)}
    least = smallest(EFI, DEVICE, needed)
    assert least % 65536 == 0
    assert layout(EFI, DEVICE, least, needed).placed[1].size >= 100 * MIB
    with pytest.raises(SpaceError):
        layout(EFI, DEVICE, Size(least - 65536), needed)


@pytest.mark.parametrize(
    ("demand", "size"),
    [
        (Demand(tree=600 * MIB), 1000 * MIB),
        (Demand(tree=600 * MIB, journal=64 * MIB), 1064 * MIB),
        (Demand(tree=600 * MIB, extra=Size(50 * MIB), journal=64 * MIB), 714 * MIB),
        (Demand(tree=600 * MIB, extra=Size(0)), 600 * MIB),
        (Demand(tree=600 * MIB, needed={"mkfs_image0": Size(2 * GIB)}), 2 * GIB),
        (Demand(tree=1), 65536),
        (Demand(tree=600 * MIB, explicit=Size(5 * GIB), journal=64 * MIB), 5 * GIB),
    ],
)
def test_the_size_is_what_diskimage_builder_makes_of_a_tree(demand: Demand, size: int) -> None:
    assert image_size(BARE, DEVICE, demand) == size


def test_the_root_filesystem_gets_its_size_besides_the_other_partitions() -> None:
    size = image_size(EFI, DEVICE, Demand(tree=600 * MIB, journal=64 * MIB))
    assert layout(EFI, DEVICE, size, {}).placed[1].size >= 1064 * MIB
    assert size - (1064 + 73) * MIB < 128 * 1024


def test_a_root_partition_with_a_size_of_its_own_keeps_it() -> None:
    fixed = disk(part("root", GIB), root="/")
    size = image_size(fixed, DEVICE, Demand(tree=GIB - MIB))
    assert layout(fixed, DEVICE, size, {}).placed[0].size == GIB
    assert size < GIB + 2 * MIB


def test_an_explicit_size_that_is_too_small_is_refused_with_one_that_would_do() -> None:
    demand = Demand(explicit=Size(GIB), needed={"mkfs_root": Size(2 * GIB)})
    with pytest.raises(SpaceError, match=r"1 GiB is too small .*: at least") as caught:
        image_size(EFI, DEVICE, demand)
    least = Size.parse(str(caught.value).rpartition("at least ")[2])
    assert image_size(EFI, DEVICE, replace(demand, explicit=least)) == least


def test_the_size_in_the_document_wins() -> None:
    device = replace(DEVICE, size=Size(3 * GIB))
    assert image_size(EFI, device, Demand(tree=MIB, explicit=Size(GIB))) == 3 * GIB


def test_a_second_device_is_as_large_as_what_lies_on_it() -> None:
    second = Device(name="image1")
    data = Filesystem(
        name="data", base="image1", type="ext4", label="d", uuid=UUID(int=2), mount_point="/data"
    )
    both = replace(BARE, devices=(DEVICE, second), filesystems=(*BARE.filesystems, data))
    demand = Demand(tree=GIB, needed={"data": Size(10 * MIB)})
    assert image_size(both, second, demand) == 10 * MIB

"""The commands that make xfs and btrfs, and what they promise, without running any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from imagebuilder.disk.model import Filesystem, Placed
from imagebuilder.filesystems import btrfs, mounted, xfs
from imagebuilder.filesystems.measure import Measured
from imagebuilder.sizes import Size

XFS = Filesystem(name="mkfs_root", base="root", type="xfs", label="root", uuid=UUID(int=1))
PLACED = Placed(filesystem=XFS, offset=Size(2**20), size=Size(2**29))
EMPTY = Measured(
    inodes=1, files=0, data=0, expanded=0, sparse=0, directories=((0, 0),), attributes=0,
    attribute_blocks=0, apparent=4096,
)  # fmt: skip


def words(*options: str, release: tuple[int, ...] = (6, 1)) -> tuple[str, ...]:
    placed = replace(PLACED, filesystem=replace(XFS, options=options))
    return xfs.mkfs(placed, Path("/dev/loop0"), release).argv


def test_xfs_gets_label_id_and_the_users_options() -> None:
    made = words("-n", "ftype=1")
    assert made[:4] == ("mkfs.xfs", "-q", "-f", "-K")
    assert ("-L", "root", "-m", f"uuid={UUID(int=1)}") == made[4:8]
    assert made[-3:] == ("-n", "ftype=1", "/dev/loop0")


def test_features_too_new_for_guests_are_off_where_mkfs_knows_them() -> None:
    assert "nrext64=0" not in words(release=(5, 10))
    assert "nrext64=0" in words(release=(6, 1))
    assert "exchange=0" not in words(release=(6, 9))
    assert {"exchange=0", "parent=0"} <= {*words(release=(6, 12))}


def test_the_user_can_have_such_a_feature() -> None:
    assert words("-i", "nrext64=1").count("nrext64=0") == 0


def test_mkfs_says_which_release_it_is() -> None:
    assert xfs._release("mkfs.xfs version 6.1.0\n") == (6, 1)
    assert xfs._release("what?") == ()


def test_btrfs_is_filled_by_its_own_tool_only_without_a_mount() -> None:
    placed = replace(
        PLACED, filesystem=replace(XFS, type="btrfs", options=("-O", "^free-space-tree"))
    )
    plain = btrfs.mkfs(placed, Path("/dev/loop0")).argv
    assert "--rootdir" not in plain
    assert plain[-3:] == ("-O", "^free-space-tree", "/dev/loop0")
    filled = btrfs.mkfs(placed, Path("/image"), Path("/tree")).argv
    assert filled[filled.index("--rootdir") + 1] == "/tree"
    assert filled[filled.index("--uuid") + 1] == str(UUID(int=1))


def test_an_empty_tree_needs_what_mkfs_demands() -> None:
    assert 300 * 2**20 <= xfs.needed(XFS, EMPTY) <= 400 * 2**20
    assert 128 * 2**20 <= btrfs.needed(XFS, EMPTY) <= 140 * 2**20


@pytest.mark.parametrize("module", [xfs, btrfs])
def test_more_content_needs_more(module: object) -> None:
    needed = module.needed  # type: ignore[attr-defined]
    large = replace(EMPTY, data=2**30, expanded=2**30, files=10, inodes=11)
    many = replace(EMPTY, inodes=500_000, directories=((500_000, 10**7),))
    assert needed(XFS, large) > 2**30
    assert needed(XFS, many) > 500_000 * 512


def test_an_xfs_twice_on_a_host_can_be_mounted() -> None:
    command = mounted.mount(PLACED, Path("/dev/loop0"), Path("/point"))
    assert command.argv == ("mount", "-t", "xfs", "-o", "nouuid", "/dev/loop0", "/point")
    other = replace(PLACED, filesystem=replace(XFS, type="btrfs"))
    assert "-o" not in mounted.mount(other, Path("/dev/loop0"), Path("/point")).argv


def test_an_attribute_that_cannot_be_copied_is_an_error() -> None:
    """GNU cp is silent about them with --archive, but not where they are asked for by name."""
    made = mounted.copy(Path("/tree"), Path("/point")).argv
    assert "--preserve=mode,ownership,timestamps,links,xattr" in made
    assert "--archive" not in made


def test_what_the_kernel_does_not_have_is_no_filesystem_of_its() -> None:
    assert not mounted.in_kernel("nonesuchfs")
    assert mounted.in_kernel("tmpfs")

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.disk.image import Borrowed, Image, stamp
from imagebuilder.errors import BuildError
from imagebuilder.formats import assembled, raw
from imagebuilder.formats.model import Output
from imagebuilder.process import Recorder

MIB = 2**20
BLOCK = 4096


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret


@pytest.fixture
def lent(tmp_path: Path) -> tuple[Image, bytes]:
    """A disk with parts of two files, and what has to be read of it."""
    files = {name: noise(size) for name, size in (("small", 5000), ("large", 3 * MIB + 77))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"own" * 1000)
        file.truncate(8 * MIB + 100)
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    borrowed = (
        Borrowed(2 * BLOCK, 5000, small, 0),
        Borrowed(4 * BLOCK, 100, small, BLOCK),
        Borrowed(MIB + BLOCK, 3 * MIB + 77, large, 0),
        Borrowed(8 * MIB, 100, large, 2 * MIB),
    )
    whole = bytearray(disk.read_bytes())
    for start, length, path, offset, _ in borrowed:
        whole[start : start + length] = files[Path(path).name][offset : offset + length]
    return Image(file=disk, borrowed=borrowed), bytes(whole)


@pytest.mark.parametrize("length", [MIB, 3000, 65536])
def test_a_disk_is_read_as_one(lent: tuple[Image, bytes], length: int) -> None:
    image, whole = lent
    buffer = bytearray(b"\xaa" * length)
    with assembled.opened(image) as disk:
        for start in range(0, disk.size, length):
            disk.read(start, memoryview(buffer))
            assert buffer == whole[start : start + length].ljust(length, b"\0")


def test_extents_are_those_of_the_file_and_what_is_borrowed(lent: tuple[Image, bytes]) -> None:
    image, whole = lent
    with assembled.opened(image) as disk:
        extents = list(disk.extents())
    assert extents == sorted(extents)
    covered = bytearray(len(whole))
    for start, end in extents:
        covered[start:end] = whole[start:end]
    assert covered == whole
    assert sum(end - start for start, end in extents) < 4 * MIB


def test_a_copy_leaves_the_disks_own_file_as_it_is(
    lent: tuple[Image, bytes], tmp_path: Path
) -> None:
    image, whole = lent
    before = image.file.read_bytes()
    (tmp_path / "copy").touch()
    assembled.copy(image, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == whole
    assert image.file.read_bytes() == before
    assert assembled.allocated(Image(file=tmp_path / "copy")) < 4 * MIB


def test_the_disks_own_file_becomes_the_whole_disk(lent: tuple[Image, bytes]) -> None:
    image, whole = lent
    assert assembled.whole(image).read_bytes() == whole


def test_what_is_borrowed_counts_for_the_room_that_is_needed(lent: tuple[Image, bytes]) -> None:
    image, _ = lent
    borrowed = 5000 + 100 + 3 * MIB + 77 + 100
    own = image.file.stat().st_blocks * 512
    assert assembled.allocated(image) == borrowed + own


def test_raw_output_is_the_whole_disk(lent: tuple[Image, bytes], tmp_path: Path) -> None:
    image, whole = lent
    made = raw.write(image, Output(path=tmp_path / "web.raw", format="raw"), Recorder())
    assert made.path.read_bytes() == whole
    assert not image.file.exists()


def test_a_file_that_became_shorter_is_named(lent: tuple[Image, bytes], tmp_path: Path) -> None:
    image, _ = lent
    (tmp_path / "large").write_bytes(b"short")
    with pytest.raises(BuildError, match=r"^.*/large: became shorter while it was read"):
        assembled.whole(image)


def test_a_link_in_the_place_of_a_file_is_not_followed(
    lent: tuple[Image, bytes], tmp_path: Path
) -> None:
    image, _ = lent
    (tmp_path / "small").rename(tmp_path / "other")
    (tmp_path / "small").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        assembled.whole(image)


def test_the_digests_are_those_of_the_disk_while_it_is_completed(
    lent: tuple[Image, bytes],
) -> None:
    image, content = lent
    with assembled.digesting(image, ("md5", "sha256")) as known:
        assembled.whole(image)
        told = known()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert told["md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert image.file.read_bytes() == content


def test_an_origin_is_told_only_where_all_bytes_are_known(
    lent: tuple[Image, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = lent
    known = [each._replace(stamp=stamp(Path(each.path).stat())) for each in image.borrowed]
    with assembled.opened(image) as disk:
        assert disk.origin(2 * MIB, 2 * MIB + BLOCK) == b""  # no stamp
    with assembled.opened(replace(image, borrowed=tuple(known))) as disk:
        assert disk.origin(2 * MIB, 2 * MIB + BLOCK) == b""  # changed just now
    monkeypatch.setattr(assembled, "FRESH", 0)
    with assembled.opened(replace(image, borrowed=tuple(known))) as disk:
        inside, shifted, own = (
            disk.origin(start, start + BLOCK)
            for start in (2 * MIB, 2 * MIB + BLOCK, disk.own[0][0])
        )
    assert inside
    assert shifted
    assert inside != shifted
    assert own == b""

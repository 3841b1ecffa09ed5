"""What a conversion remembers of earlier ones, and that its bytes do not depend on it."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.cache.model import Earlier, seen
from imagebuilder.disk.image import Borrowed, Image, stamp
from imagebuilder.formats import assembled, qcow2_writer, zstd
from imagebuilder.formats.memory import ORIGIN, ROW, Index, Memory, decode, encode, recalled

CLUSTER = qcow2_writer.CLUSTER
DIGEST = hashlib.sha256(b"cluster").digest()
ORIGIN_OF_IT = hashlib.sha256(b"file").digest()

pytestmark = pytest.mark.skipif(not zstd.available(), reason="needs libzstd")


def disk(path: Path, *, changed: bytes = b"") -> Path:
    """Clusters that shrink and such that do not, some of them twice; one may be changed."""
    chance = random.Random(7)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret
    rough, smooth = chance.randbytes(20 * CLUSTER), b"text " * (20 * CLUSTER // 5)
    content = bytearray(smooth + rough + smooth[: 3 * CLUSTER])
    content[CLUSTER : CLUSTER + len(changed)] = changed
    path.write_bytes(content)
    return path


def rewrite(path: Path, content: bytes) -> None:
    """Write a file whose time tells of it, even where a clock's tick is longer than a test."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


def remembered(tmp_path: Path) -> Memory:
    image, index = tmp_path / "old.qcow2", tmp_path / "old.index"
    index.write_bytes(qcow2_writer.write(Image(file=disk(tmp_path / "old")), image))
    return Memory(earlier=(Earlier(image, index, seen(image.stat())),))


@pytest.mark.parametrize("changed", [b"", b"something else"])
def test_the_bytes_are_the_same_with_a_memory_and_without(tmp_path: Path, changed: bytes) -> None:
    new, memory = Image(file=disk(tmp_path / "new", changed=changed)), remembered(tmp_path)
    with_it, without = tmp_path / "with.qcow2", tmp_path / "without.qcow2"
    indices = (
        qcow2_writer.write(new, with_it, memory=memory),
        qcow2_writer.write(new, without),
    )
    assert with_it.read_bytes() == without.read_bytes()
    assert indices[0] == indices[1]


def test_what_is_known_is_not_compressed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, compressed = remembered(tmp_path), []
    compress = zstd.Compressor.compress

    def counted(context: zstd.Compressor, content: bytes, buffer: zstd.Buffer, start: int) -> int:
        compressed.append(bytes(content))
        return compress(context, content, buffer, start)

    monkeypatch.setattr(zstd.Compressor, "compress", counted)
    new = disk(tmp_path / "new", changed=b"something else")
    qcow2_writer.write(Image(file=new), tmp_path / "new.qcow2", memory=memory)
    assert compressed == [new.read_bytes()[CLUSTER : 2 * CLUSTER]]


def test_an_image_that_became_shorter_is_not_relied_on(tmp_path: Path) -> None:
    memory, new = remembered(tmp_path), Image(file=disk(tmp_path / "new"))
    ((image, index, _),) = memory.earlier
    with image.open("r+b") as file:
        file.truncate(2 * CLUSTER)
    memory = Memory(earlier=(Earlier(image, index, seen(image.stat())),))
    made, expected = tmp_path / "made.qcow2", tmp_path / "expected.qcow2"
    qcow2_writer.write(new, made, memory=memory)
    qcow2_writer.write(new, expected)
    assert made.read_bytes() == expected.read_bytes()


def test_an_image_that_was_written_to_since_it_was_read_is_not_relied_on(tmp_path: Path) -> None:
    memory, new = remembered(tmp_path), Image(file=disk(tmp_path / "new"))
    image = memory.earlier[0].image
    rewrite(image, bytes(image.stat().st_size))
    made, expected = tmp_path / "made.qcow2", tmp_path / "expected.qcow2"
    qcow2_writer.write(new, made, memory=memory)
    qcow2_writer.write(new, expected)
    assert made.read_bytes() == expected.read_bytes()


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembled, "FRESH", 0)


def lent(path: Path) -> Image:
    """The disk with some of its clusters in another file, whose stamp is known."""
    whole = disk(path.with_name(f"{path.name}.whole"))
    content, other = whole.read_bytes(), path.with_name(f"{path.name}.lent")
    start, length = 3 * CLUSTER + 4096, 30 * CLUSTER
    other.write_bytes(content[start : start + length])
    with path.open("wb") as file:
        file.truncate(len(content))
        for begin, end in ((0, start), (start + length, len(content))):
            file.seek(begin)
            file.write(content[begin:end])
    part = Borrowed(start, length, str(other), 0, stamp(other.stat()))
    return Image(file=path, borrowed=(part,))


def test_clusters_of_files_that_are_as_they_were_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, image, index = lent(tmp_path / "disk"), tmp_path / "old.qcow2", tmp_path / "old.index"
    index.write_bytes(qcow2_writer.write(source, image))
    read: list[int] = []
    fetch = assembled.Disk.read

    def counted(self: assembled.Disk, start: int, target: memoryview) -> None:
        read.extend(range(start // CLUSTER, (start + len(target)) // CLUSTER))
        fetch(self, start, target)

    monkeypatch.setattr(assembled.Disk, "read", counted)
    memory = Memory(earlier=(Earlier(image, index, seen(image.stat())),))
    made = tmp_path / "new.qcow2"
    again = qcow2_writer.write(source, made, memory=memory)
    assert sorted(read) == [*range(4), *range(33, 43)]
    assert made.read_bytes() == image.read_bytes()
    assert again == index.read_bytes()


def test_clusters_of_a_file_that_was_written_to_are_read_again(tmp_path: Path) -> None:
    source, image, index = lent(tmp_path / "disk"), tmp_path / "old.qcow2", tmp_path / "old.index"
    index.write_bytes(qcow2_writer.write(source, image))
    (part,) = source.borrowed
    other = Path(part.path)
    rewrite(other, other.read_bytes()[::-1])
    source = replace(source, borrowed=(part._replace(stamp=stamp(other.stat())),))
    memory = Memory(earlier=(Earlier(image, index, seen(image.stat())),))
    made, expected = tmp_path / "made.qcow2", tmp_path / "expected.qcow2"
    qcow2_writer.write(source, made, memory=memory)
    qcow2_writer.write(source, expected)
    assert made.read_bytes() == expected.read_bytes() != image.read_bytes()


def test_clusters_that_are_known_but_cannot_be_had_are_read(tmp_path: Path) -> None:
    source, image, index = lent(tmp_path / "disk"), tmp_path / "old.qcow2", tmp_path / "old.index"
    index.write_bytes(qcow2_writer.write(source, image))
    expected = image.read_bytes()
    with image.open("r+b") as file:
        file.truncate(2 * CLUSTER)
    memory = Memory(earlier=(Earlier(image, index, seen(image.stat())),))
    made = tmp_path / "made.qcow2"
    qcow2_writer.write(source, made, memory=memory)
    assert made.read_bytes() == expected


def test_an_index_gives_back_what_was_put_into_it() -> None:
    index = Index(places={DIGEST: (1 << 40, 65536)}, digests={ORIGIN_OF_IT: DIGEST})
    assert decode(encode("zstd 1", index), "zstd 1") == index


@pytest.mark.parametrize(
    "damage",
    [
        lambda index: index[:-1],
        lambda index: index[:0],
        lambda index: index[:30],
        lambda index: index[: -ROW.size - 1],
        lambda index: index.replace(b"zstd 1", b"zstd 2"),
        lambda index: b"x" + index,
    ],
)
def test_an_index_that_is_damaged_or_anothers_knows_nothing(
    damage: Callable[[bytes], bytes],
) -> None:
    index = encode("zstd 1", Index(places={DIGEST: (1, 2)}, digests={ORIGIN_OF_IT: DIGEST}))
    assert len(index) > ROW.size + ORIGIN.size
    assert decode(damage(index), "zstd 1") == Index()


def test_images_that_are_gone_are_no_error(tmp_path: Path) -> None:
    gone = Earlier(tmp_path / "image", tmp_path / "index", (0, 0, 0))
    with recalled(Memory(earlier=(gone,)), "zstd 1") as known:
        assert known.find(DIGEST, memoryview(bytearray(10))) == 0

import ctypes
import os
import random
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagebuilder.disk.image import Image, Packed
from imagebuilder.errors import BuildError
from imagebuilder.existing import qcow2 as existing
from imagebuilder.formats import qcow2, qcow2_writer, zstd
from imagebuilder.formats.model import Output
from imagebuilder.formats.qcow2_writer import CLUSTER, COUNTS, ENTRIES, Map, Tables, refcounts
from imagebuilder.process import Recorder

MIB = 2**20
SOURCES = str(Path(qcow2.__file__).parents[2])
SHORT = Path("/sys/kernel/uevent_seqnum")  # it says that it has a page, and has a few bytes
LITTLE = b"little in it, "
COPIED, COMPRESSED = 1 << 63, 1 << 62

pytestmark = pytest.mark.skipif(not zstd.available(), reason="needs libzstd")

WITHOUT = """
import sys
from pathlib import Path
from imagebuilder.disk.image import Image
from imagebuilder.formats import qcow2, zstd
from imagebuilder.formats.model import Output
from imagebuilder.process import Recorder
zstd.LIBRARY = "libabsent.so.1"
run = Recorder()
source, target = sys.argv[1:]
qcow2.write(Image(file=Path(source)), Output(path=Path(target), format="qcow2"), run)
print(*(command.argv[0] for command in run.commands))
with zstd.compressor(1):
    pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A qcow2 file taken apart by a reader of the format's description."""

    size: int
    level1: tuple[int, ...]
    clusters: dict[int, bytes]
    entries: dict[int, int]
    uses: Counter[int]  # of the file's clusters, as it has them
    found: Counter[int]  # the same, found by following everything


def words(content: bytes, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f">{count}Q", content, at)


def unpacked(content: bytes, at: int) -> bytes:
    library = ctypes.CDLL(zstd.LIBRARY)
    for name in ("ZSTD_findFrameCompressedSize", "ZSTD_decompress"):
        getattr(library, name).restype = ctypes.c_size_t
    frame = content[at : at + CLUSTER]
    length = library.ZSTD_findFrameCompressedSize(frame, ctypes.c_size_t(len(frame)))
    buffer = ctypes.create_string_buffer(CLUSTER)
    size = ctypes.c_size_t(CLUSTER)
    assert library.ZSTD_decompress(buffer, size, frame, ctypes.c_size_t(length)) == CLUSTER
    return buffer.raw


def touched(entry: int) -> Iterator[int]:
    """The clusters of the file with sectors that a level 2 entry names."""
    if entry & COPIED:
        yield (entry & ~COPIED) // CLUSTER
        return
    at, sectors = entry & (1 << 54) - 1, (entry & ~COMPRESSED) >> 54
    end = (at // 512 + sectors + 1) * 512
    yield from range(at // CLUSTER, (end - 1) // CLUSTER + 1)


def read(path: Path) -> Read:
    content = path.read_bytes()
    magic, version, backing, _, bits, size, encrypted, entries = struct.unpack_from(
        ">4sIQIIQII", content
    )
    assert (magic, version, backing, bits, encrypted) == (b"QFI\xfb", 3, 0, 16, 0)
    table1, counts, counts_clusters, snapshots = struct.unpack_from(">QQII", content, 40)
    incompatible, compatible, clear, order, length = struct.unpack_from(">QQQII", content, 72)
    assert (incompatible, compatible, clear, snapshots) == (8, 0, 0, 0)
    assert (order, length, content[104]) == (4, 112, 1)
    level1 = words(content, table1, entries)
    level2 = {
        ENTRIES * number + index: entry
        for number, place in enumerate(level1)
        if place
        for index, entry in enumerate(words(content, place & ~COPIED, ENTRIES))
        if entry
    }
    blocks = [place for place in words(content, counts, counts_clusters * ENTRIES) if place]
    metadata = [0, *range(counts // CLUSTER, counts // CLUSTER + counts_clusters)]
    metadata += [place // CLUSTER for place in blocks]
    metadata += [(place & ~COPIED) // CLUSTER for place in level1 if place]
    metadata += range(table1 // CLUSTER, -(-(table1 + 8 * entries) // CLUSTER))
    every = [struct.unpack_from(f">{COUNTS}H", content, place) for place in blocks]
    return Read(
        size=size,
        level1=level1,
        clusters={
            cluster: content[entry & ~COPIED :][:CLUSTER]
            if entry & COPIED
            else unpacked(content, entry & (1 << 54) - 1)
            for cluster, entry in level2.items()
        },
        entries=level2,
        uses=Counter({
            COUNTS * number + index: count
            for number, block in enumerate(every)
            for index, count in enumerate(block)
            if count
        }),
        found=Counter(metadata) + Counter(c for entry in level2.values() for c in touched(entry)),
    )


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)  # ruff: ignore[suspicious-non-cryptographic-random-usage] - no secret


def put(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        for start, content in pieces:
            file.seek(start)
            file.write(content)
        file.truncate(size)
    return path


def mixed(path: Path) -> Path:
    """Clusters that shrink much, little and not at all, and holes."""
    pieces = [
        (place * MIB, noise(150_000 + 4096 * place) + LITTLE * 30_000) for place in range(0, 20, 2)
    ]
    return put(path, 30 * MIB, *pieces, (20 * MIB, noise(9 * MIB)), (29 * MIB + 77, LITTLE))


def written(source: Path, workers: int = 2) -> Path:
    target = source.with_suffix(f".{workers}.qcow2")
    qcow2_writer.write(Image(file=source), target, workers)
    return target


def whole(made: Read) -> bytes:
    content = bytearray(-(-made.size // CLUSTER) * CLUSTER)
    for cluster, piece in made.clusters.items():
        content[cluster * CLUSTER : (cluster + 1) * CLUSTER] = piece
    return bytes(content[: made.size])


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, ()),
        (1, ((0, b"x"),)),
        (513, ((0, noise(513)),)),
        (CLUSTER, ((0, noise(CLUSTER)),)),
        (3 * CLUSTER + 4096, ((CLUSTER - 5, noise(10)), (3 * CLUSTER + 4000, LITTLE))),
        (MIB, ()),
        (5 * MIB, ((0, noise(5 * MIB)),)),
        (5 * MIB, ((0, LITTLE * 300_000), (4 * MIB + 1, noise(MIB - 1)))),
    ],
)
def test_the_file_has_the_disks_content(
    tmp_path: Path, size: int, pieces: tuple[tuple[int, bytes], ...]
) -> None:
    source = put(tmp_path / "disk", size, *pieces)
    made = read(written(source))
    assert made.size == -(-size // 512) * 512
    assert whole(made) == source.read_bytes().ljust(made.size, b"\0")
    assert made.uses == made.found


def test_what_shrinks_and_what_does_not_come_from_one_disk(tmp_path: Path) -> None:
    source = mixed(tmp_path / "disk")
    made = read(written(source))
    kinds = Counter("packed" if entry & COMPRESSED else "plain" for entry in made.entries.values())
    assert whole(made) == source.read_bytes()
    assert made.uses == made.found
    assert kinds["packed"] > 50
    assert kinds["plain"] > qcow2_writer.HELD + qcow2_writer.RUN


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    source = mixed(tmp_path / "disk")
    one, two, four, many = (written(source, workers).read_bytes() for workers in (1, 2, 4, 99))
    assert one == two == four == many


def test_zeros_count_as_holes(tmp_path: Path) -> None:
    source, full = mixed(tmp_path / "disk"), tmp_path / "full"
    full.write_bytes(source.read_bytes())
    assert full.stat().st_blocks > source.stat().st_blocks
    assert written(full).read_bytes() == written(source).read_bytes()


def test_clusters_that_do_not_shrink_are_aligned_in_a_row(tmp_path: Path) -> None:
    made = read(written(put(tmp_path / "disk", 20 * CLUSTER, (0, noise(20 * CLUSTER)))))
    places = [made.entries[number] for number in range(20)]
    assert places == [COPIED | (1 + number) * CLUSTER for number in range(20)]


def test_many_clusters_that_shrink_share_one(tmp_path: Path) -> None:
    made = read(written(put(tmp_path / "disk", 64 * CLUSTER, (0, bytes((7,)) * 64 * CLUSTER))))
    assert made.uses[1] == 64


def test_every_512_mib_have_a_level_2_table_if_they_need_one(tmp_path: Path) -> None:
    source = put(
        tmp_path / "disk", 10 * 2**30, (600 * MIB, LITTLE), (10 * 2**30 - 9, b"the end.\n")
    )
    made = read(written(source))
    assert [number for number, place in enumerate(made.level1) if place] == [1, 19]
    assert len(made.level1) == 20
    assert made.clusters[10 * 2**30 // CLUSTER - 1].endswith(b"\0the end.\n")
    assert made.uses == made.found


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (1, (1, 1)),
        (COUNTS - 2, (1, 1)),
        (COUNTS - 1, (2, 1)),
        (2 * COUNTS - 3, (2, 1)),
        (2 * COUNTS - 2, (3, 1)),
        ((COUNTS - 1) * ENTRIES - 1, (ENTRIES, 1)),
        ((COUNTS - 1) * ENTRIES, (ENTRIES + 1, 2)),
    ],
)
def test_blocks_of_counts_count_themselves(before: int, expected: tuple[int, int]) -> None:
    assert refcounts(before) == expected
    assert before + sum(expected) <= expected[0] * COUNTS


def test_blocks_of_counts_follow_each_other_in_their_table() -> None:
    placed = Map()
    for number in range(COUNTS):
        placed.add_plain(number, (1 + number) * CLUSTER)
    tables = Tables(size=COUNTS * CLUSTER, start=1 + COUNTS, map=placed)
    content = b"".join(tables.content())
    at = len(content) - CLUSTER
    blocks = [place // CLUSTER for place in words(content, at, ENTRIES) if place]
    assert blocks == [tables.blocks, tables.blocks + 1]
    counts = struct.unpack_from(f">{2 * COUNTS}H", content, at - 2 * CLUSTER)
    assert sum(counts) == counts.index(0) == 1 + COUNTS + len(content) // CLUSTER


@pytest.mark.skipif(not SHORT.exists(), reason="needs sysfs")
def test_a_disk_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"^{SHORT}: became shorter while it was read"):
        qcow2_writer.write(Image(file=SHORT), tmp_path / "out")


def test_a_full_disk_is_an_oserror_and_ends_the_threads(tmp_path: Path) -> None:
    source = mixed(tmp_path / "disk")
    with pytest.raises(OSError, match="No space left"):
        qcow2_writer.write(Image(file=source), Path("/dev/full"), 2)
    assert threading.active_count() == 1


def test_a_context_gives_the_same_frame_again() -> None:
    buffer = ctypes.create_string_buffer(4 * CLUSTER)
    content = noise(40_000) + LITTLE * 1000
    with zstd.compressor(2) as first, zstd.compressor(2) as second:
        length = first.compress(content, buffer, 0)
        first.compress(noise(CLUSTER), buffer, 2 * CLUSTER)
        assert first.compress(content, buffer, length) == length
        assert second.compress(content, buffer, 2 * length) == length
    frames = {buffer.raw[n * length : (n + 1) * length] for n in range(3)}
    assert len(frames) == 1


def test_a_frame_needs_room() -> None:
    buffer = ctypes.create_string_buffer(zstd.bound(100) + 9)
    with zstd.compressor(1) as context:
        assert context.compress(bytes(100), buffer, 9) < 100
        with pytest.raises(BuildError, match=r"libzstd\.so\.1: \d+ bytes are no room"):
            context.compress(bytes(100), buffer, 10)


def test_no_program_is_needed_to_compress(tmp_path: Path) -> None:
    source, run = mixed(tmp_path / "disk"), Recorder()
    output = Output(path=tmp_path / "web.qcow2", format="qcow2")
    made = qcow2.write(Image(file=source), output, run)
    assert run.commands == []
    assert made.path.read_bytes() == written(source).read_bytes()
    assert made.size == made.path.stat().st_size


@pytest.mark.parametrize(("options", "compress"), [(("cluster_size=2M",), True), ((), False)])
def test_qemu_img_does_what_takes_options_and_what_is_not_compressed(
    tmp_path: Path, options: tuple[str, ...], *, compress: bool
) -> None:
    source, run = put(tmp_path / "disk", MIB), Recorder()
    path = tmp_path / "web.qcow2"
    output = Output(path=path, format="qcow2", options=options, compress=compress)
    qcow2.write(Image(file=source), output, run)
    assert [command.argv[0] for command in run.commands] == ["qemu-img"]


def test_qemu_img_does_it_without_the_library(tmp_path: Path) -> None:
    source = put(tmp_path / "disk", MIB)
    done = subprocess.run(
        (sys.executable, "-c", WITHOUT, str(source), str(tmp_path / "web.qcow2")),
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "qemu-img\n"
    assert "ToolMissingError: libabsent.so.1 is not installed" in done.stderr
    assert "hint: Debian and Ubuntu have it in libzstd1" in done.stderr


def shrinking(path: Path) -> Path:
    """Every other MiB is of clusters that shrink to about half; then some of each kind."""
    pieces = [(place * MIB, noise(MIB // 2 - place).hex().encode()) for place in range(0, 20, 2)]
    return put(path, 30 * MIB, *pieces, (20 * MIB, noise(MIB)), (22 * MIB, LITTLE * 80_000))


def of_another(source: Path, base: Path, changed: Counter[int]) -> Path:
    """The disk `source`, whose clusters are as in the image `base` but for those `changed`."""
    target = source.with_suffix(".again.qcow2")
    with existing.opened(base) as file:
        assert file
        packed = Packed(
            name=str(base),
            file=base,
            kind=file.kind,
            read=base.stat(),
            kept=existing.kept(file, changed),
            others=tuple(sorted(changed)),
        )
        qcow2_writer.write(Image(file=source, packed=packed), target, 2)
    return target


@pytest.mark.parametrize(("first", "step"), [(0, 1), (0, 3), (0, 40), (16, 32), (0, 1000)])
def test_clusters_that_stay_are_taken_from_the_image_that_was(
    tmp_path: Path, first: int, step: int
) -> None:
    base = written(shrinking(tmp_path / "base"))
    source = shrinking(tmp_path / "disk")
    changed = Counter(range(first, 30 * MIB // CLUSTER, step))
    with source.open("r+b") as file:
        for number in changed:
            file.seek(number * CLUSTER)
            file.write(LITTLE * (number % 7 * 100))
    again = of_another(source, base, changed)
    assert whole(read(again)) == source.read_bytes()
    assert read(again).uses == read(again).found


def test_an_image_that_becomes_shorter_meanwhile_is_an_error(tmp_path: Path) -> None:
    base = written(mixed(tmp_path / "base"))
    with existing.opened(base) as file:
        assert file
        kept = existing.kept(file, ())
    packed = Packed(name="it", file=base, kind="zstd", read=base.stat(), kept=kept)
    os.truncate(base, CLUSTER)
    with pytest.raises(BuildError, match="was changed"):
        qcow2_writer.write(Image(file=tmp_path / "base", packed=packed), tmp_path / "out")

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from imagebuilder import holes
from imagebuilder.disk.image import Image
from imagebuilder.formats import assembled, qcow2, raw, sparse
from imagebuilder.formats.model import Output, Source
from imagebuilder.process import Recorder

MIB = 2**20


def with_hole(path: Path) -> Path:
    with path.open("wb") as file:
        file.seek(8 * MIB)
        file.write(b"data" * 1024)
        file.truncate(40 * MIB)
    return path


def wanted(*options: str, compress: bool = True) -> Output:
    return Output(path=Path("web.qcow2"), format="qcow2", options=options, compress=compress)


def test_the_disk_becomes_the_raw_output_and_is_not_copied(tmp_path: Path) -> None:
    disk = with_hole(tmp_path / "scratch")
    inode = disk.stat().st_ino
    made = raw.write(Image(file=disk), Output(path=tmp_path / "web.raw", format="raw"), Recorder())
    assert made.path.stat().st_ino == inode
    assert not disk.exists()


def test_a_raw_output_gets_its_checksum_files(tmp_path: Path) -> None:
    disk = with_hole(tmp_path / "scratch")
    output = Output(path=tmp_path / "web.raw", format="raw", checksums=("md5",))
    made = raw.write(Image(file=disk), output, Recorder())
    assert (tmp_path / "web.raw.md5").read_text() == f"{made.digests['md5']}  {made.path}\n"


def test_a_copy_is_equal_and_keeps_the_holes(tmp_path: Path) -> None:
    disk = with_hole(tmp_path / "disk")
    with disk.open("rb") as source, (tmp_path / "copy").open("wb") as target:
        sparse.copy(source.fileno(), target.fileno())
    assert (tmp_path / "copy").read_bytes() == disk.read_bytes()
    assert (
        assembled.allocated(Image(file=tmp_path / "copy"))
        == assembled.allocated(Image(file=disk))
        < MIB
    )


def test_a_file_of_another_filesystem_is_copied_too(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two filesystems")
    with (
        tempfile.NamedTemporaryFile(dir=memory) as source,
        (tmp_path / "copy").open("w+b") as target,
    ):
        source.write(b"begin".ljust(5000, b"."))
        source.seek(2**20)
        source.write(b"end")
        source.flush()
        with pytest.raises(OSError, match="cross-device"):
            os.copy_file_range(source.fileno(), target.fileno(), 1, 0, 0)
        sparse.copy(source.fileno(), target.fileno())
        assert (tmp_path / "copy").read_bytes() == Path(source.name).read_bytes()


@pytest.mark.parametrize("length", [0, 1, sparse.CHUNK, sparse.CHUNK + 1])
def test_digests_are_those_of_the_whole_content(tmp_path: Path, length: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * length)
    with file.open("rb") as opened:
        digests = sparse.digests(opened.fileno(), ("md5", "sha256"))
    assert digests["sha256"] == hashlib.sha256(b"x" * length).hexdigest()


def test_holes_count_as_zeros_in_digests(tmp_path: Path) -> None:
    disk, full = with_hole(tmp_path / "disk"), tmp_path / "full"
    full.write_bytes(disk.read_bytes())
    with disk.open("rb") as first, full.open("rb") as second:
        assert sparse.digests(first.fileno(), ("md5",)) == sparse.digests(second.fileno(), ("md5",))


def test_data_is_found_between_holes(tmp_path: Path) -> None:
    with with_hole(tmp_path / "disk").open("rb") as disk:
        assert list(holes.extents(disk.fileno())) == [(8 * MIB, 8 * MIB + 4096)]


def test_qcow2_is_compressed_with_zstd_in_order(tmp_path: Path) -> None:
    argv = qcow2.convert(tmp_path / "disk", Path("/out"), wanted()).argv
    assert argv == (
        "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-m", "16", "-c",
        "-o", "compression_type=zstd", str(tmp_path / "disk"), "/out",
    )  # fmt: skip


def test_qcow2_without_compression_gets_no_option() -> None:
    argv = qcow2.convert(Path("/disk"), Path("/out"), wanted(compress=False)).argv
    assert argv[-3:] == ("16", "/disk", "/out")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (("preallocation=off",), ("preallocation=off", "compression_type=zstd")),
        (("compression_type=zlib",), ("compression_type=zlib",)),
        (("compat=0.10",), ("compat=0.10",)),
        (("compat=1.1",), ("compat=1.1", "compression_type=zstd")),
    ],
)
def test_qcow2_options_that_were_asked_for_win(
    given: tuple[str, ...], used: tuple[str, ...]
) -> None:
    assert qcow2.options(wanted(*given)) == used


def test_qemu_img_is_started_through_the_runner_and_keeps_the_disk(tmp_path: Path) -> None:
    disk, run = with_hole(tmp_path / "disk"), Recorder()
    output = Output(path=tmp_path / "web.qcow2", format="qcow2", compress=False)
    qcow2.write(Image(file=disk), output, run)
    assert [command.argv[0] for command in run.commands] == ["qemu-img"]
    assert disk.exists()


def test_both_are_made_from_the_disk() -> None:
    assert raw.SOURCE is qcow2.SOURCE is Source.IMAGE
    assert raw.SUFFIXES | qcow2.SUFFIXES == {"raw": ".raw", "qcow2": ".qcow2"}

"""squashfs images are read by their tables as squashfs' own programs read them."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from imagebuilder.cli import verbs
from imagebuilder.errors import ConfigError
from imagebuilder.process import find
from imagebuilder.remaster import squashfs as story
from imagebuilder.squashfs import stream
from imagebuilder.squashfs.image import is_same, opened

COMPRESSORS = ("gzip", "xz", "lz4", "zstd", "lzo", "lzma")
FILES, BLOCK = 3000, 128 * 1024
pytestmark = [
    pytest.mark.tools,
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("mksquashfs", "sqfs2tar", "tar2sqfs", "tar")
    ),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of many blocks of metadata, files of all lengths, holes, links, devices."""
    tree = tmp_path_factory.mktemp("squashfs") / "tree"
    (tree / "many").mkdir(parents=True)
    for number in range(FILES):
        (tree / "many" / f"a name of some length {number}").write_text(f"{number}\n" * (number % 9))
    for length in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77):
        (tree / f"random-{length}").write_bytes(os.urandom(length))
        (tree / f"letters-{length}").write_bytes(b"abc" * length)
    with (tree / "hole").open("wb") as file:
        file.seek(5 * BLOCK + 9)
        file.write(b"end")
    (tree / "link").symlink_to("many/nowhere")
    (tree / "twin").hardlink_to(tree / f"random-{BLOCK}")
    (tree / "letters-1").chmod(0o4711)
    return tree


def made(tree: Path, target: Path, *options: str) -> Path:
    subprocess.run(
        ["mksquashfs", tree, target, "-noappend", "-no-progress", "-quiet", "-no-recovery",
         "-p", "sda b 640 3 4 259 70000", "-p", "tty c 600 0 5 5 1", "-p", "pipe I 1 644 7 8 f",
         *options],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_file_is_what_it_is_in_the_stream(
    tree: Path, tmp_path: Path, compressor: str
) -> None:
    path = made(tree, tmp_path / "image.squashfs", "-comp", compressor)
    image = opened(path)
    inodes, listing = dict(image.files()), story.listing(path)
    seen: list[str] = []
    with stream.members(path) as archive:
        for name, member in stream.names(archive):
            if not name:
                continue
            seen.append(name)
            file = listing.files[name]
            assert (file.uid, file.gid, file.mtime) == (member.uid, member.gid, member.mtime), name
            assert stat.S_IMODE(file.mode) == member.mode, name
            if member.isreg():
                content = archive.extractfile(member)
                assert content
                assert b"".join(image.pieces(inodes[name])) == content.read(), name
            elif member.issym():
                assert file.target == member.linkname
            elif member.islnk():
                assert stream.clean(member.linkname) in file.names
            elif member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                assert file.rdev == (member.devmajor, member.devminor)
    assert seen == [*listing.files]
    assert len(seen) > FILES


def test_the_same_files_are_the_same_however_they_are_packed(tree: Path, tmp_path: Path) -> None:
    old = opened(made(tree, tmp_path / "old.squashfs", "-comp", "gzip"))
    new = opened(made(tree, tmp_path / "new.squashfs", "-comp", "zstd", "-b", "65536"))
    others = dict(new.files())
    for path, inode in old.files():
        if stat.S_ISREG(inode.mode):
            assert is_same((old, inode), (new, others[path])), path
    one, other = others[f"random-{BLOCK}"], others[f"letters-{BLOCK}"]
    assert not is_same((new, one), (new, other))


def test_uncompressed_tables_are_read(tree: Path, tmp_path: Path) -> None:
    path = made(tree, tmp_path / "raw.squashfs", "-noI", "-noD", "-noF", "-noX")
    assert b"".join(story.read(path, "many/a name of some length 7")) == b"7\n" * 7


def read_all(path: Path) -> None:
    image = opened(path)
    for _, inode in image.files():
        if stat.S_ISREG(inode.mode):
            b"".join(image.pieces(inode))


@pytest.mark.parametrize("place", [64, 72, 80])
def test_a_damaged_table_is_an_error_and_no_traceback(
    tree: Path, tmp_path: Path, place: int
) -> None:
    path = made(tree, tmp_path / "image.squashfs")
    data = bytearray(path.read_bytes())
    table = int.from_bytes(data[place : place + 8], "little")
    data[table : table + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged squashfs image"):
        read_all(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="writes owners and devices")
def test_an_image_is_unpacked_and_packed_again_without_loss(tree: Path, tmp_path: Path) -> None:
    old = made(tree, tmp_path / "old.squashfs", "-comp", "lz4")
    place = tmp_path / "out"
    place.mkdir()
    story.unpack(old, place)
    new = tmp_path / "new.squashfs"
    story.pack(place, new, opened(old).made, 2_000_000_000)
    subprocess.run(["unsquashfs", "-lln", new], check=True, capture_output=True)
    one, other = story.listing(old).files, story.listing(new).files
    assert one.keys() == other.keys()
    for path, file in one.items():
        twin = other[path]
        assert (file.mode, file.uid, file.gid, file.rdev, file.size, file.names) == (
            twin.mode, twin.uid, twin.gid, twin.rdev, twin.size, twin.names,
        ), path  # fmt: skip
    assert opened(new).made.compressor == "lz4"


def test_acls_that_are_lost_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    words = ["setfacl", "-m", "u:7:r", tmp_path / "tree/sub"]
    if not find("setfacl") or subprocess.run(words, check=False).returncode:
        pytest.skip("needs ACLs")
    made = tmp_path / "out.squashfs"
    assert verbs.main(["squashfs", "pack", str(tmp_path / "tree"), "-o", str(made)]) == 0
    assert "cannot hold the ACLs of 1 files: sub" in capsys.readouterr().err
    assert "sub" in story.listing(made)

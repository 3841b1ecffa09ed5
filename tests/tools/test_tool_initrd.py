"""Initrds against the programs that others make and read them with."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.codec import table
from imagebuilder.initrd import edit, load, newc, rootfs
from imagebuilder.initrd.source import Wish
from imagebuilder.process import find
from imagebuilder.remaster import initrd as story
from imagebuilder.remaster.initrd import Changes, Substitution

if TYPE_CHECKING:
    from conftest import Packages

pytestmark = pytest.mark.tools
INSTALLER = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
PACK = {
    "gzip": "gzip -9n",
    "bzip2": "bzip2 -9",
    "lzma": "xz --format=lzma",
    "xz": "xz --check=crc32 --x86 --lzma2=dict=1MiB",
    "lzo": "lzop -9",
    "lz4": "lz4 -l -9",
    "zstd": "zstd -19 -T1",
}
UNPACK = {
    "gzip": "gzip -dc", "bzip2": "bzip2 -dc", "lzma": "xz --format=lzma -dc", "xz": "xz -dc",
    "lzo": "lzop -dc", "lz4": "lz4 -dc", "zstd": "zstd -dc",
}  # fmt: skip
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(not find(tool), reason=f"needs {tool}"))
    for kind, command in PACK.items()
    for tool in (command.split()[0],)
]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find(program) is None, reason=f"needs {program}")


def piped(command: str, data: bytes) -> bytes:
    return subprocess.run(command.split(), input=data, capture_output=True, check=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    (tree / "a").write_bytes(os.urandom(9000) + bytes(600_000))
    (tree / "b").hardlink_to(tree / "a")
    (tree / "empty").touch(mode=0o600)
    return tree


@pytest.fixture
def archive(tree: Path) -> bytes:
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    return subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"],
        cwd=tree,
        input="\n".join(names).encode(),
        capture_output=True,
        check=True,
    ).stdout


@needs("cpio")
def test_what_cpio_writes_is_written_the_same(archive: bytes) -> None:
    (read,) = newc.read_all(archive)
    assert newc.write(read) == archive


@needs("cpio")
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_usual_program_packs_is_read(archive: bytes, kind: str) -> None:
    data = piped(PACK[kind], archive)
    (segment,) = load.load(data, "x").segments
    assert (segment.kind, segment.raw == data, segment.objection) == (kind, True, "")
    assert newc.write_all(segment.archives) == archive


@needs("cpio")
@pytest.mark.parametrize("kind", KINDS)
def test_what_we_pack_is_read_by_the_usual_program(archive: bytes, kind: str) -> None:
    like = piped(PACK[kind], archive)
    assert piped(UNPACK[kind], table.BY_NAME[kind].pack(archive, like)) == archive


@needs("cpio")
@pytest.mark.parametrize("end", [0.4, 0.97])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_usual_program_packs_and_is_cut_off_is_named(
    archive: bytes, kind: str, end: float
) -> None:
    data = piped(PACK[kind], archive)
    with pytest.raises(Exception, match=f"truncated {kind} segment at byte 0"):
        load.load(data[: int(len(data) * end)], "x")


@needs("cpio")
def test_cpio_unpacks_what_was_edited(archive: bytes, tmp_path: Path) -> None:
    initrd = edit.delete(load.load(gzip.compress(archive), "x"), "b")
    data = load.write(edit.change(initrd, "empty", lambda _: b"full\n"))
    place = tmp_path / "unpacked"
    place.mkdir()
    command = ["cpio", "-i", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, cwd=place, input=gzip.decompress(data), check=True)
    assert sorted(path.name for path in place.iterdir()) == ["a", "empty", "lib", "usr"]
    assert (place / "empty").read_bytes() == b"full\n"
    assert (place / "a").stat().st_size == 609_000
    assert (place / "lib").readlink() == Path("usr/lib")


@needs("lsinitramfs")
def test_lsinitramfs_lists_an_edited_initrd_with_microcode(archive: bytes, tmp_path: Path) -> None:
    early = newc.Archive(
        entries=tuple(
            newc.Entry(name=name, mode=mode, content=content)
            for name, mode, content in (
                ("kernel", 0o40755, b""), ("kernel/x86", 0o40755, b""),
                ("kernel/x86/microcode", 0o40755, b""),
                ("kernel/x86/microcode/.enuineIntel.align.0123456789abc", 0o100644, b""),
                ("kernel/x86/microcode/GenuineIntel.bin", 0o100644, b"m" * 2048),
            )
        )
    )  # fmt: skip
    base = newc.write(edit.rounded(early)) + gzip.compress(archive)
    seed = tmp_path / "seed"
    seed.write_text("x\n")
    changes = Changes(add=(Wish(source=seed, path="lib/seed"),), delete=("empty",))
    image = tmp_path / "initrd.img"
    image.write_bytes(story.edited(base, "x", changes))
    listed = subprocess.run(
        ["lsinitramfs", image], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "usr/lib/seed" in listed
    assert "kernel/x86/microcode/GenuineIntel.bin" in listed
    assert "empty" not in listed


@pytest.fixture(scope="module")
def installer(packages: Packages) -> bytes:
    return (packages.tree(INSTALLER) / IMAGES / "initrd.gz").read_bytes()


def test_debians_installer_is_written_as_it_was(installer: bytes) -> None:
    initrd = load.load(installer, "initrd.gz")
    assert load.write(initrd) == installer
    (segment,) = initrd.segments
    assert newc.write_all(segment.archives) == gzip.decompress(installer)
    root = rootfs.of(initrd)
    assert (len(root.files) > 2000, root.lost) == (True, [])


def test_an_edit_of_debians_installer_changes_nothing_else(installer: bytes) -> None:
    changes = Changes(
        replace=(Substitution(path="init", old="#!/bin/sh", new="#!/bin/sh\n# mine"),),
        delete=("usr/lib/locale",),
    )
    before = story.contents(rootfs.of(load.load(installer, "x")))
    after = story.contents(rootfs.of(load.load(story.edited(installer, "x", changes), "x")))
    gone = {path for path in before if path not in after}
    assert gone
    assert all(path.startswith("usr/lib/locale") for path in gone)
    assert {path for path, facts in after.items() if facts != before.get(path)} == {"init"}


@needs("depmod")
def test_a_module_of_the_installer_is_indexed_anew(installer: bytes, tmp_path: Path) -> None:
    root = rootfs.of(load.load(installer, "x"))
    path = next(path for path in sorted(root.files) if path.endswith("/virtio_net.ko"))
    module = tmp_path / "virtio_net.ko"
    module.write_bytes(root.files[path].content)
    home = path.partition("/kernel/")[0]
    assert f"{home}/modules.dep" not in root
    index = newc.Entry(name=f"{home}/modules.dep", mode=0o100644, content=b"old\n")
    base = newc.write_all([
        newc.Archive(entries=(*load.load(installer, "x").segments[0].archives[0].entries, index))
    ])
    after = rootfs.of(load.load(story.appended(base, "x", Changes(modules=(module,))), "x"))
    lines = after.files[f"{home}/modules.dep"].content.decode().splitlines()
    assert any(line.startswith("updates/virtio_net.ko: kernel/") for line in lines)

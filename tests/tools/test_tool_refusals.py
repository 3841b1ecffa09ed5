"""Every input that cannot be has one line, its exit status, and leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import iso_layouts
import pytest

from imagebuilder import process
from imagebuilder.cli import verbs
from imagebuilder.process import find
from tests.tools.test_tool_iso import installer, ubuntu

pytestmark = [
    pytest.mark.tools,
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("xorriso", "mcopy", "mksquashfs", "tar2sqfs")
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of all kinds, by their names."""
    place = tmp_path_factory.mktemp("refusals")
    good = ubuntu(place).rename(place / "good.iso").read_bytes()
    (place / "empty.iso").touch()
    (place / "random.iso").write_bytes(os.urandom(100_000))
    (place / "gzip.iso").write_bytes(gzip.compress(b"x" * 10**6) + bytes(40_000))
    for size in (33_500, 36_900, 400_000):
        (place / f"cut-{size}.iso").write_bytes(good[:size])
    (place / "cut-esp.iso").write_bytes(good[: len(good) - 1_500_000])
    plain = place / "plain"
    iso_layouts.mkisofs(place / "plain.iso", installer(plain))
    (place / "grown.iso").write_bytes(good)
    words = ["xorriso", "-boot_image", "any", "keep", "-dev", place / "grown.iso"]
    subprocess.run(
        [*words, "-map", "/etc/hostname", "/x", "-commit"], check=True, capture_output=True
    )
    (plain / "more").mkdir()
    subprocess.run(
        ["mksquashfs", plain, place / "good.squashfs", "-quiet", "-no-progress"],
        check=True, capture_output=True,
    )  # fmt: skip
    squashfs = (place / "good.squashfs").read_bytes()
    (place / "squashfs.iso").write_bytes(squashfs + bytes(40_000))
    (place / "cut.squashfs").write_bytes(squashfs[:700])
    (place / "empty.initrd").touch()
    (place / "junk.initrd").write_bytes(b"junkjunk" * 100)
    (place / "elf.initrd").write_bytes(b"\x7fELF" + bytes(500))
    (place / "frame.initrd").write_bytes(b"\x04\x22\x4d\x18" + bytes(100))
    (place / "cut.initrd").write_bytes(gzip.compress(os.urandom(5000))[:2000])
    return place


ISOS = [
    ("none.iso", "no such file"),
    ("empty.iso", "empty file"),
    ("random.iso", "not an ISO 9660 image (no CD001 at byte 32769; looks like"),
    ("gzip.iso", "looks like gzip"),
    ("squashfs.iso", "looks like a squashfs"),
    ("cut-33500.iso", "too small for ISO 9660 (33500 bytes)"),
    ("cut-36900.iso", "truncated: volume descriptor set has no terminator (sector 18)"),
    ("cut-400000.iso", "truncated: "),
    ("cut-esp.iso", "truncated: the ISO 9660 volume ends at byte"),
    ("plain.iso", "has no boot record (no El Torito, no MBR code)"),
    ("grown.iso", "was modified in place before (partitions end at byte"),
]
CHANGES = [
    (("--remove", "/boot/grub/i386-pc/eltorito.img"), "is boot image 1, which has to stay"),
    (("--volume-id", "x" * 33), "a volume id has at most 32 characters"),
    (("--remove", "/casper/vmlinux"), "did you mean 'casper/vmlinuz'"),
    (("--replace", "/boot/grub/grub.cfg", "set timeout=31", "x"), "the nearest line is"),
    (("--drop-entry", "Foo"), "no menu entry is titled 'Foo'\n  hint: there are: Install, Rescue"),
    (("--add", "/none:/"), "/none: no such file"),
    (("--add", "/dev/null:/"), "/dev/null: is neither a file nor a directory"),
    (("--timeout", "-1"), "a time cannot be negative"),
    (("--squashfs-delete", "/casper/initrd", "x"), "not a squashfs image"),
    (("--sha256", "0" * 64), "is another image: its SHA-256 is"),
    ((), "nothing to do"),
]


def refused(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status and what was said; nothing may appear or change."""
    before = {path: _digest(path) for path in sorted(place.rglob("*")) if path.is_file()}
    status = verbs.main(words)
    after = {path: _digest(path) for path in sorted(place.rglob("*")) if path.is_file()}
    assert after == before
    return status, capsys.readouterr().err


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "line"), ISOS)
def test_an_image_that_cannot_be_copied(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    words = ["iso", "remaster", str(place / name), "-o", str(place / "out.iso"), "--timeout", "1"]
    status, said = refused(words, place, capsys)
    assert status == 2
    assert said.startswith(f"error: {place / name}: ")
    assert line in said


@pytest.mark.parametrize(("options", "line"), CHANGES)
def test_a_change_that_cannot_be_made(
    place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], line: str
) -> None:
    words = ["iso", "remaster", str(place / "good.iso"), "-o", str(place / "out.iso"), *options]
    status, said = refused(words, place, capsys)
    assert status == 2
    assert line in said


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("good.iso", "is the source, which is never changed"),
        ("plain.iso", "exists already\n  hint: --force replaces it"),
        ("none/out.iso", "there is no directory"),
        ("plain", "exists already"),
    ],
)
def test_an_output_that_cannot_be(
    place: Path, capsys: pytest.CaptureFixture[str], output: str, line: str
) -> None:
    words = ["iso", "remaster", str(place / "good.iso"), "-o", str(place / output)]
    status, said = refused([*words, "--timeout", "1"], place, capsys)
    assert status == 2
    assert line in said


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none.initrd", "no such file"),
        ("empty.initrd", "empty initrd"),
        ("junk.initrd", "unknown data at byte 0: 6a756e6b"),
        ("elf.initrd", "ELF"),
        ("frame.initrd", "lz4 -l"),
        ("good.squashfs", "squashfs"),
        ("cut.initrd", "truncated gzip segment at byte 0"),
    ],
)
def test_an_initrd_that_is_none(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    words = ["initrd", "append", str(place / name), "-o", str(place / "out"), "--add", "/etc:/etc"]
    status, said = refused(words, place, capsys)
    assert status == 2
    assert line in said


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none.squashfs", "no such file"),
        ("good.iso", "not a squashfs image (looks like"),
        ("empty.iso", "not a squashfs image"),
        ("cut.squashfs", "truncated: the file system ends at byte"),
    ],
)
def test_a_root_filesystem_that_is_none(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    words = ["squashfs", "edit", str(place / name), "-o", str(place / "out"), "--delete", "x"]
    status, said = refused(words, place, capsys)
    assert status == 2
    assert line in said


def test_a_tool_that_is_missing_is_named_before_any_work(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagebuilder.process.PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    words = ["iso", "remaster", str(place / "good.iso"), "-o", str(place / "out.iso")]
    status, said = refused([*words, "--timeout", "1"], place, capsys)
    assert status == 3
    for tool in ("xorriso", "mdir", "mcopy"):
        assert f"{tool} is not installed" in said
    assert "doctor --install" in said


def test_too_little_room_for_scratch_files_is_said_before_any_work(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage

    def full(path: Path) -> object:
        return usage(path)._replace(free=2**20) if "imagebuilder-iso-" in str(path) else usage(path)

    monkeypatch.setattr(shutil, "disk_usage", full)
    words = ["iso", "remaster", str(place / "good.iso"), "-o", str(place / "out.iso")]
    status, said = refused([*words, "--timeout", "1"], place, capsys)
    assert status == 5
    assert said.startswith("error: scratch files in ")
    assert "no space for it: 2 MiB needed, 1 MiB free" in said


def test_a_root_filesystem_that_finds_no_room_is_said_to(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = place / "bin"
    bin_.mkdir()
    (bin_ / "tar2sqfs").write_text("#!/bin/sh\ncat > /dev/null\necho out: I/O error.\nexit 1\n")
    (bin_ / "tar2sqfs").chmod(0o755)
    monkeypatch.setitem(process.BASE_ENVIRONMENT, "PATH", f"{bin_}:{process.PATH}")
    words = ["squashfs", "edit", str(place / "good.squashfs"), "-o", str(place / "out")]
    words += ["--delete", "casper"]
    status, said = refused(words, place, capsys)
    assert status == 4
    assert "out: I/O error." in said
    none = os.statvfs_result((4096, 4096, 9, 0, 0, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: none)
    status, said = refused(words, place, capsys)
    assert status == 5
    assert f"{place / 'out'}: no space left: up to " in said

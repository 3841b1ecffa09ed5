"""GRUB's programs that stand in for the image's own while hooks run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imagebuilder.hooks import grub

ROOT, BOOT, EFI = "1111-root", "2222-boot", "33AA-44BB"
FILESYSTEMS = f"""/|ext2|{ROOT}|lvm|gpt|a label's
/boot|xfs|{BOOT}||gpt|boot
/boot/efi|fat|{EFI}||gpt|MKFS_ESP"""
ALL = (*grub.PROBES, *grub.INSTALLERS)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with GRUB's programs, each of which says that it is the own one."""
    for name in ("grub-probe", "grub-mkrelpath", "grub-install"):
        program = tmp_path / "usr/sbin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text('#!/bin/sh\necho own "$@"\n')
        program.chmod(0o750)
        os.utime(program, (1000, 1000))
    (tmp_path / "usr/bin").symlink_to("sbin")
    return tmp_path


def call(tree: Path, name: str, *words: str) -> str:
    return subprocess.check_output([tree / "usr/sbin" / name, *words], text=True).strip()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--target=fs_uuid", "/"), ROOT),
        (("--target=fs_uuid", "/usr/share/grub"), ROOT),
        (("--target=fs_uuid", "/bootless"), ROOT),
        (("-t", "fs_uuid", "/boot/grub"), BOOT),
        (("--target=fs_uuid", "/boot/efi/EFI"), EFI),
        (("--target=fs", "/boot/"), "xfs"),
        (("--target", "fs_label", "/"), "a label's"),
        (("--target=abstraction", "/"), "lvm"),
        (("--target=abstraction", "/boot"), ""),
        (("--target=partmap", "/boot"), "gpt"),
        (("--target=device", "/boot"), f"/dev/disk/by-uuid/{BOOT}"),
        (("--device", f"/dev/disk/by-uuid/{BOOT}", "--target=fs_uuid"), BOOT),
        (("--device", "LABEL=whatever", "--target=fs_uuid"), ROOT),
        (("--device", f"/dev/disk/by-uuid/{EFI}", "--target=fs"), "fat"),
        (("--target=hints_string", "/boot"), ""),
    ],
)
def test_the_disk_is_what_it_will_be(tree: Path, words: tuple[str, ...], answer: str) -> None:
    with grub.covered(tree, ALL, FILESYSTEMS):
        assert call(tree, "grub-probe", *words) == answer


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/boot/vmlinuz", "/vmlinuz"), ("/boot", ""), ("/boot/efi/EFI/x", "/EFI/x"),
        ("/bootless", "/bootless"), ("/usr/share/grub", "/usr/share/grub"),
    ],
)  # fmt: skip
def test_paths_are_those_on_their_filesystem(tree: Path, path: str, answer: str) -> None:
    with grub.covered(tree, ALL, FILESYSTEMS):
        assert call(tree, "grub-mkrelpath", "-r", path) == answer


def test_grub_is_left_to_the_builder_and_says_its_own_version(tree: Path) -> None:
    with grub.covered(tree, ALL, FILESYSTEMS):
        assert call(tree, "grub-install", "/dev/vda").startswith(
            "grub-install: left to the builder"
        )
        assert call(tree, "grub-install", "--version") == "own --version"


def test_afterwards_all_is_as_it_was(tree: Path) -> None:
    def seen() -> list[tuple[str, int, int, bytes]]:
        return [
            (path.name, path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted((tree / "usr/sbin").iterdir())
        ]

    before = seen()
    with grub.covered(tree, ALL, FILESYSTEMS):
        assert seen() != before
    assert seen() == before


def test_what_a_package_manager_has_done_meanwhile_stays(tree: Path) -> None:
    programs = tree / "usr/sbin"
    with grub.covered(tree, ALL, FILESYSTEMS):
        (programs / "new").write_text("a newer one")
        (programs / "new").rename(programs / "grub-probe")
        (programs / "grub-install").unlink()
    assert (programs / "grub-probe").read_text() == "a newer one"
    assert sorted(path.name for path in programs.iterdir()) == ["grub-mkrelpath", "grub-probe"]


def test_a_tree_without_grub_stays_without_it(tmp_path: Path) -> None:
    with grub.covered(tmp_path, ALL, FILESYSTEMS):
        assert list(tmp_path.iterdir()) == []

"""Debian's installer kernel unpacks initrds that were changed here, and says what it has."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.codec import table
from imagebuilder.initrd import edit, load, newc
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.source import Wish
from imagebuilder.remaster import initrd as story
from imagebuilder.remaster.initrd import Changes, Substitution

if TYPE_CHECKING:
    from conftest import Packages

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu"),
]
INSTALLER = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
FAILED = "Initramfs unpacking failed"
END = "\nmount -t proc proc /proc\necho o > /proc/sysrq-trigger\nsleep 60\n"
DIRECTORY, FILE, PROGRAM, LINK = 0o40755, 0o100644, 0o100755, 0o120777
KINDS = ("cpio", *table.BY_NAME)


@pytest.fixture(scope="module")
def images(packages: Packages) -> Path:
    return packages.tree(INSTALLER) / IMAGES


@pytest.fixture(scope="module")
def busybox(packages: Packages) -> bytes:
    tree = packages.tree("busybox-static")
    return next(path for path in tree.rglob("bin/busybox") if path.is_file()).read_bytes()


def said(kernel: Path, initrd: bytes, place: Path, program: str = "/init") -> str:
    """What a machine says until it turns itself off."""
    image = place / "initrd.img"
    image.write_bytes(initrd)
    return subprocess.run(
        [
            "qemu-system-x86_64", "-nodefaults", "-machine", "pc", "-m", "768", "-display", "none",
            "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", image,
            "-append", f"console=ttyS0 panic=-1 rdinit={program}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=True,
    ).stdout  # fmt: skip


def small(busybox: bytes, script: str) -> bytes:
    """An archive with a merged /usr, a busybox of three names, and a script."""
    entries = (
        Entry(name="usr", mode=DIRECTORY), Entry(name="usr/bin", mode=DIRECTORY),
        Entry(name="usr/lib", mode=DIRECTORY), Entry(name="proc", mode=DIRECTORY),
        Entry(name="bin", mode=LINK, content=b"usr/bin"),
        Entry(name="lib", mode=LINK, content=b"usr/lib"),
        *(
            Entry(name=f"usr/bin/{name}", mode=PROGRAM, ino=7, nlink=5, content=content)
            for name, content in (
                ("sh", b""), ("mount", b""), ("cat", b""), ("sleep", b""), ("ls", busybox),
            )
        ),
        Entry(name="init", mode=PROGRAM, content=f"#!/bin/sh\n{script}{END}".encode()),
    )  # fmt: skip
    return newc.write(edit.rounded(Archive(entries=entries)))


def packed(kind: str, content: bytes) -> bytes:
    return content if kind == "cpio" else table.BY_NAME[kind].pack(content, b"")


def test_the_installer_runs_what_was_appended_and_edited(images: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ncat /marker\n/usr/local/bin/tool --version{END}")
    script.chmod(0o755)
    marker = tmp_path / "marker"
    marker.write_text("APPENDED\n")
    data = (images / "initrd.gz").read_bytes()
    changes = Changes(
        add=(Wish(source=script, path="lib/script"), Wish(source=marker, path="/")),
        programs=(Wish(source=Path("/usr/bin/lsblk"), path="usr/local/bin/tool"),),
    )
    data = story.appended(data, "x", changes)
    edits = Changes(replace=(Substitution(path="marker", old="APPENDED", new="THEN EDITED"),))
    output = said(images / "linux", story.edited(data, "x", edits), tmp_path, "/lib/script")
    assert "THEN EDITED" in output
    assert "tool from util-linux" in output
    assert FAILED not in output


@pytest.mark.parametrize("first", KINDS)
def test_every_kind_is_read_by_the_kernel_with_another_behind_it(
    images: Path, busybox: bytes, tmp_path: Path, first: str
) -> None:
    data = packed(first, small(busybox, "cat /lib/*.txt"))
    for kind in KINDS:
        note = Entry(name=f"lib/{kind}.txt", mode=FILE, content=f"HAS {kind}\n".encode())
        data = edit.append(data, [note], "x", kind)
    initrd = load.load(data, "x")
    new = Entry(name="lib/edited.txt", mode=FILE, content=b"HAS edited\n")
    output = said(images / "linux", load.write(edit.add(initrd, [new])), tmp_path)
    assert [name for name in (*KINDS, "edited") if f"HAS {name}" not in output] == []
    assert FAILED not in output


def test_a_name_of_a_hard_link_is_replaced_alone(
    images: Path, busybox: bytes, tmp_path: Path
) -> None:
    base = packed("gzip", small(busybox, "/usr/bin/ls; cat /bin/ls; echo STILL HERE"))
    mine = Entry(name="bin/ls", mode=PROGRAM, content=b"#!/bin/sh\necho MINE ALONE\n")
    output = said(images / "linux", edit.append(base, [mine], "x"), tmp_path)
    assert output.count("MINE ALONE") == 2  # run, and shown
    assert "STILL HERE" in output


def test_xz_of_the_wrong_kind_is_read_after_an_edit(
    images: Path, busybox: bytes, tmp_path: Path
) -> None:
    wrong = lzma.compress(small(busybox, "echo READ"), preset=1)
    assert "input was encoded" in said(images / "linux", wrong, tmp_path).lower()
    new = Entry(name="x", mode=FILE)
    right = load.write(edit.add(edit.mended(load.load(wrong, "x")), [new]))
    assert "READ" in said(images / "linux", right, tmp_path)

"""A copied ISO image starts from CD and from disk, by BIOS and by UEFI, with what was changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.cli import verbs
from imagebuilder.initrd import newc
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import roles, tree
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.probe import probe
from imagebuilder.remaster import inner, squashfs
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.initrd import Changes, Substitution
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges

if TYPE_CHECKING:
    from conftest import Packages

CODE, VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
pytestmark = [
    pytest.mark.boots,
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")
        for tool in ("qemu-system-x86_64", "grub-mkrescue", "xorriso", "mcopy", "tar2sqfs")
    ),
    pytest.mark.skipif(not Path("/usr/lib/grub/i386-pc").exists(), reason="needs grub-pc-bin"),
    pytest.mark.skipif(not Path("/usr/lib/grub/x86_64-efi").exists(), reason="needs GRUB for UEFI"),
]
INSTALLER = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
MENU = """\
serial
terminal_output serial
set timeout=900
menuentry "Install" {
    linux /install/vmlinuz console=ttyS0 panic=-1 wrong=1 ---
    initrd /install/initrd
}
menuentry "Rescue" {
    linux /install/vmlinuz rescue
    initrd /install/initrd
}
"""
SCRIPT = """\
#!/bin/sh
echo "Loading the installer"
mount -t proc proc /proc
echo "STARTED WITH $(cat /proc/cmdline)"
cat /added
echo o > /proc/sysrq-trigger
sleep 60
"""


ROOTS = {"pve-installer": "Old page\n", "pve-base": "Old system\n"}


@pytest.fixture(scope="module")
def image(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installer's image as grub-mkrescue makes it, remastered: anew, then its menu in place."""
    place = tmp_path_factory.mktemp("iso")
    top = place / "tree"
    (top / "install").mkdir(parents=True)
    (top / "boot/grub").mkdir(parents=True)
    shutil.copy(packages.tree(INSTALLER) / IMAGES / "linux", top / "install/vmlinuz")
    unpacked = packages.tree("busybox-static")
    busybox = next(path for path in unpacked.rglob("bin/busybox") if path.is_file()).read_bytes()
    entries = [Entry(name=name, mode=0o40755) for name in ("bin", "proc")]
    entries += [Entry(name="bin/sh", mode=0o100755, content=busybox)]
    entries += [Entry(name="init", mode=0o100755, content=SCRIPT.encode())]
    entries += [
        Entry(name=f"bin/{name}", mode=0o120777, content=b"sh")
        for name in ("cat", "mount", "sleep")
    ]
    (top / "install/initrd").write_bytes(newc.write(Archive(entries=tuple(entries))))
    (top / "boot/grub/grub.cfg").write_text(MENU)
    for name, text in ROOTS.items():
        (place / name / "usr").mkdir(parents=True)
        (place / name / "usr/page.html").write_text(text)
        squashfs.pack(place / name, top / f"{name}.squashfs", squashfs.USUAL, 0)
    made = place / "original.iso"
    subprocess.run(["grub-mkrescue", "-o", made, top], check=True, capture_output=True)
    anew, target = place / "anew.iso", place / "copy.iso"
    story.remaster(made, Target(path=anew), wanted(place))
    told = ArgumentChange(add=("automatic=1", "fitting=1"), remove=("wrong",))
    story.remaster(anew, Target(path=target), IsoChanges(menus=MenuChange(arguments=told)))
    return target


def wanted(place: Path) -> IsoChanges:
    """Messages of init, no menu, one more package, other pages, another system."""
    (place / "added").write_text("ADDED TO THE INITRD\n")
    (place / "extra_1_all.deb").write_text("!<arch>\n")
    message = Substitution(path="init", old="the installer", new="ACME")
    page = Substitution(path="usr/page.html", old="Old", new="New")
    added = Wish(source=place / "added", path="added")
    return IsoChanges(
        menus=MenuChange(timeout=0, drop=("Rescue",)),
        initrd_edit=Changes(replace=(message,)),
        initrd=Changes(add=(added,)),
        add=(Wish(source=place / "extra_1_all.deb", path="proxmox/packages/"),),
        squashfs={f"{name}.squashfs": TreeChanges(replace=(page,)) for name in ROOTS},
        volume_id="REMASTERED",
    )


@pytest.fixture
def firmware(tmp_path: Path) -> list[str]:
    if not CODE.exists():
        pytest.skip("needs OVMF")
    own = tmp_path / "variables.fd"
    shutil.copy(VARIABLES, own)
    return ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={CODE}",
           "-drive", f"if=pflash,format=raw,unit=1,file={own}"]  # fmt: skip


def said(image: Path, medium: str, board: str, *words: str) -> str:
    drive = f"if=none,id=medium,format=raw,readonly=on,file={image}"
    device = {
        "cd": ["-drive", f"{drive},media=cdrom", "-device", "ide-cd,drive=medium,bootindex=1"],
        "disk": [
            "-drive", drive, "-device", "qemu-xhci",
            "-device", "usb-storage,drive=medium,bootindex=1",
        ],
    }[medium]  # fmt: skip
    return subprocess.run(
        ["qemu-system-x86_64", "-nodefaults", "-machine", board, "-m", "768", "-display", "none",
         "-vga", "std", "-serial", "stdio", "-no-reboot", *words, *device],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=400,
        check=True,
    ).stdout  # fmt: skip


def test_the_copy_has_the_five_changes_of_the_guide(image: Path) -> None:
    files = tree.load(probe(image))
    assert [entry.title for entry in roles.entries(files)] == ["Install"]
    assert "proxmox/packages/extra_1_all.deb" in files
    assert files.iso.volume.id == "REMASTERED"
    for name, text in ROOTS.items():
        inside = inner.image(files, f"{name}.squashfs")
        content = b"".join(inside.pieces(dict(inside.files())["usr/page.html"])).decode()
        assert content == text.replace("Old", "New")


def test_the_last_change_was_made_in_place(image: Path) -> None:
    before, after = (tree.load(probe(path)) for path in (image.with_name("anew.iso"), image))
    assert image.stat().st_size == image.with_name("anew.iso").stat().st_size
    moved = [p for p, n in before.nodes.items() if n.extents != after.nodes[p].extents]
    assert moved == ["boot/grub/grub.cfg"]
    assert before.nodes[moved[0]].extents[0][0] == after.nodes[moved[0]].extents[0][0]


def test_the_verb_sees_the_kernel_and_keeps_console_and_screen(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["iso", "test", str(image), "--mode", "bios-cd", "--keep", str(tmp_path / "kept")]
    assert verbs.main([*words, "--timeout", "300", "--expect", "Loading ACME"]) == 0
    assert "bios-cd" in capsys.readouterr().out
    assert "Loading ACME" in (tmp_path / "kept/bios-cd.txt").read_text()
    assert (tmp_path / "kept/bios-cd.png").read_bytes().startswith(b"\x89PNG")
    assert verbs.main([*words, "--timeout", "2", "--expect", "never said"]) == 1
    assert "'never said' did not come within" in capsys.readouterr().out


def check(output: str) -> None:
    assert "Loading ACME" in output
    line = next(line for line in output.splitlines() if "STARTED WITH" in line)
    assert "automatic=1" in line
    assert "wrong" not in line
    assert "ADDED TO THE INITRD" in output


@pytest.mark.parametrize("medium", ["cd", "disk"])
def test_the_copy_starts_by_bios(image: Path, medium: str) -> None:
    check(said(image, medium, "pc"))


@pytest.mark.parametrize("medium", ["cd", "disk"])
def test_the_copy_starts_by_uefi(image: Path, medium: str, firmware: list[str]) -> None:
    check(said(image, medium, "q35", *firmware))

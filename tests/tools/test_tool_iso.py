"""Copies of real ISO images and of the layouts of three distributions, made by their own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import iso_layouts
import pytest

from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.initrd import load, newc, rootfs
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import checksums, esp, roles, tree, xorriso
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.probe import probe
from imagebuilder.process import find, run
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.initrd import Changes, Substitution
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.output import Target

if TYPE_CHECKING:
    from conftest import Packages

EPOCH = 1_700_000_000
pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("xorriso") is None, reason="needs xorriso"),
    pytest.mark.skipif(find("mcopy") is None, reason="needs mtools"),
]
HOST = Path("/etc/hostname")
MENU = """\
set timeout=30
search --no-floppy --set=root -l 'OLD ID'
menuentry "Install" {
\tlinux\t/casper/vmlinuz quiet ---
\tinitrd\t/casper/initrd
}
menuentry "Rescue" {
\tlinux\t/casper/vmlinuz rescue ---
\tinitrd\t/casper/initrd
}
"""
INITRD = newc.write(
    Archive(entries=(Entry(name="init", mode=0o100755, content=b"#!/bin/sh\n"),))
)  # fmt: skip


def installer(place: Path) -> Path:
    """A tree as an installer's, with a list of checksums."""
    files = {
        "boot/grub/grub.cfg": MENU.encode(),
        "casper/vmlinuz": b"kernel" * 1000,
        "casper/initrd": INITRD,
        "casper/a name longer than what Joliet has room for, with spaces and ümlauts.txt": b"x",
        ".disk/info": b"Test 1.0\n",
        "pool/main/a/a.deb": b"!<arch>\n",
    }
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return place


def partition(place: Path, menu: str, size: str = "2M") -> Path:
    """An EFI system partition with a menu of its own."""
    (place / "grub.cfg").write_text(menu)
    return iso_layouts.esp(place / "efi.img", [place / "grub.cfg"], size)


def ubuntu(place: Path) -> Path:
    """A small tree as Ubuntu's CD."""
    top = installer(place / "tree")
    iso_layouts.grub_image(top)
    iso_layouts.sums(top)
    return iso_layouts.ubuntu(place / "u.iso", top, partition(place, MENU))


def debian(place: Path) -> Path:
    """A small tree as Debian's CD."""
    top = installer(place / "tree")
    (iso_layouts.isolinux(top) / "isolinux.cfg").write_text(
        "default a\ntimeout 0\nlabel a\n\tkernel /casper/vmlinuz\n"
        "\tappend initrd=/casper/initrd --- quiet\n"
    )
    shutil.move(partition(place, MENU), top / "boot/grub/efi.img")
    iso_layouts.sums(top)
    return iso_layouts.debian(place / "d.iso", top)


def proxmox(place: Path) -> Path:
    """A small tree as Proxmox' CD."""
    return iso_layouts.proxmox(place / "p.iso", installer(place / "tree"))


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "ubuntu": ubuntu, "debian": debian, "proxmox": proxmox,
}  # fmt: skip
REAL = {
    "grub": ("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso"),
    "ipxe": ("ipxe", "usr/lib/ipxe/ipxe.iso"),
    "memtest": ("memtest86+", "usr/lib/memtest86+/memtest86+x64.iso"),
}
EVERYTHING = IsoChanges(
    menus=MenuChange(
        timeout=0,
        arguments=ArgumentChange(add=("autoinstall",), remove=("quiet",)),
        drop=("Rescue",),
    ),
    volume_id="NEW ID",
    epoch=EPOCH,
)


def image_of(name: str, packages: Packages, place: Path) -> Path:
    """A layout made at `place`, or a real image out of a package."""
    if name in LAYOUTS:
        return LAYOUTS[name](place)
    package, path = REAL[name]
    return packages.tree(package) / path


@pytest.fixture(params=[*LAYOUTS, *REAL])
def source(
    request: pytest.FixtureRequest, packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return image_of(request.param, packages, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "preseed.cfg"
    path.write_text("d-i x y z\n")
    return path


def with_seed(seed: Path) -> IsoChanges:
    wish = Wish(source=seed, path="new/place/")
    return IsoChanges(add=(wish,), volume_id="NEWID", epoch=EPOCH)


def test_every_name_is_seen_as_xorriso_sees_it(source: Path) -> None:
    done = subprocess.run(
        ["xorriso", "-indev", source, "-find", "/", "-exec", "echo"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = {line.strip("'").lstrip("/") for line in done.stdout.splitlines() if line}
    assert {*tree.load(probe(source)).nodes} == theirs


def test_contents_are_those_that_xorriso_extracts(source: Path, tmp_path: Path) -> None:
    files = tree.load(probe(source))
    place = tmp_path / "extracted"
    subprocess.run(
        ["osirrox", "-indev", source, "-extract", "/", place], check=True, capture_output=True
    )
    checked = 0
    for path, node in files.nodes.items():
        if node.is_file:
            assert b"".join(files.pieces(node)) == (place / path).read_bytes(), path
            checked += 1
    assert checked > 2


def test_a_copy_boots_as_the_original_and_keeps_what_was_not_changed(
    source: Path, seed: Path, tmp_path: Path
) -> None:
    before = source.read_bytes()
    target = tmp_path / "out.iso"
    story.remaster(source, Target(path=target), with_seed(seed))
    old, new = tree.load(probe(source)), tree.load(probe(target))
    assert source.read_bytes() == before
    assert new.read("new/place/preseed.cfg") == b"d-i x y z\n"
    assert (new.iso.volume.id, new.iso.volume.created) == ("NEWID", old.iso.volume.created)
    assert bool(new.iso.joliet) == bool(old.iso.joliet)
    assert new.iso.volume.preparer == old.iso.volume.preparer
    reports = [run(xorriso.report(path)).output for path in (source, target)]
    assert xorriso.set_up(reports[0])
    assert xorriso.set_up(reports[0]) == xorriso.set_up(reports[1])


def test_two_copies_are_the_same_bytes(source: Path, seed: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        story.remaster(source, Target(path=tmp_path / name / "out.iso"), with_seed(seed))
        os.utime(seed)
    assert (tmp_path / "one/out.iso").read_bytes() == (tmp_path / "two/out.iso").read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_menus_in_the_tree_and_in_the_partition_are_changed(layout: str, tmp_path: Path) -> None:
    target = tmp_path / "out.iso"
    story.remaster(LAYOUTS[layout](tmp_path), Target(path=target), EVERYTHING)
    files = tree.load(probe(target))
    menu = files.read("boot/grub/grub.cfg").decode()
    assert "set timeout=0\n" in menu
    assert "-l 'NEW ID'\n" in menu
    first = roles.entries(files)[0]
    assert (first.title, first.arguments) == ("Install", "autoinstall ---")
    if layout != "proxmox":
        inside = partition_menu(target, tmp_path)
        assert inside == menu


def partition_menu(path: Path, place: Path) -> str:
    files = tree.load(probe(path))
    found = roles.esp_place(files.iso, files)
    assert found is not None
    image = place / "partition.img"
    image.write_bytes(path.read_bytes()[found[0] : found[0] + found[1]])
    return esp.read(image, "EFI/BOOT/grub.cfg", place, run).decode()


@pytest.mark.parametrize("layout", ["ubuntu", "debian"])
def test_lists_of_checksums_are_true_of_the_copy(layout: str, seed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.iso"
    changes = IsoChanges(
        menus=EVERYTHING.menus,
        add=(Wish(source=seed, path="preseed.cfg"),),
        remove=("pool",),
        epoch=EPOCH,
    )
    story.remaster(LAYOUTS[layout](tmp_path), Target(path=target), changes)
    files = tree.load(probe(target))
    listed = checksums.listed(files.read("md5sum.txt").decode())
    assert "preseed.cfg" in listed
    assert not [path for path in listed if path.startswith("pool/")]
    wrong = [
        path for path, expected in listed.items()
        if checksums.digest("md5", files.pieces(files.file(path))) != expected
    ]  # fmt: skip
    assert wrong == []


def test_a_directory_is_replaced_and_what_is_removed_is_not_changed(
    seed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.iso"
    changes = IsoChanges(
        menus=MenuChange(timeout=0),
        add=(Wish(source=seed, path="casper/new/"),),
        remove=("casper", "boot/grub/grub.cfg"),
        epoch=EPOCH,
    )
    story.remaster(ubuntu(tmp_path), Target(path=target), changes)
    files = tree.load(probe(target))
    assert [node.path for node in files.below("casper")] == [
        "casper", "casper/new", "casper/new/preseed.cfg",
    ]  # fmt: skip
    assert "boot/grub/grub.cfg" not in files
    assert "boot/grub/i386-pc/eltorito.img" in files


def test_menus_and_initrds_that_are_added_are_changed_as_others(seed: Path, tmp_path: Path) -> None:
    target, menu, initrd = (tmp_path / name for name in ("out.iso", "menu", "initrd"))
    menu.write_text(MENU.replace("Install", "Mine"))
    initrd.write_bytes(newc.write(Archive(entries=(Entry(name="new", mode=0o100644),))))
    changes = IsoChanges(
        menus=MenuChange(timeout=0, default="Mine"),
        volume_id="NEW",
        add=(
            Wish(source=menu, path="boot/grub/grub.cfg"),
            Wish(source=initrd, path="casper/initrd"),
        ),
        initrd=Changes(add=(Wish(source=seed, path="/"),), epoch=EPOCH),
        epoch=EPOCH,
    )
    story.remaster(ubuntu(tmp_path), Target(path=target), changes)
    files = tree.load(probe(target))
    text = files.read("boot/grub/grub.cfg").decode()
    assert text.startswith("set timeout=0\nsearch --no-floppy --set=root -l 'NEW'\n")
    assert "set default='Mine'\nmenuentry \"Mine\"" in text
    assert {*rootfs.of(load.load(files.read("casper/initrd"), "x")).files} == {"new", "preseed.cfg"}


def test_initrds_get_files_more(tmp_path: Path, seed: Path) -> None:
    target = tmp_path / "out.iso"
    wanted = Changes(add=(Wish(source=seed, path="/"),), epoch=EPOCH)
    story.remaster(ubuntu(tmp_path), Target(path=target), IsoChanges(initrd=wanted, epoch=EPOCH))
    data = tree.load(probe(target)).read("casper/initrd")
    assert data.startswith(INITRD)
    assert rootfs.of(load.load(data, "x")).files["preseed.cfg"].content == b"d-i x y z\n"


@pytest.mark.parametrize("build", [ubuntu, debian])
def test_a_partition_that_is_too_small_grows(build: Callable[[Path], Path], tmp_path: Path) -> None:
    source = build(tmp_path)
    old = tree.load(probe(source))
    long = tuple(f"argument{number}={'x' * 2000}" for number in range(600))
    menus = MenuChange(arguments=ArgumentChange(add=long))
    target = tmp_path / "out.iso"
    story.remaster(source, Target(path=target), IsoChanges(menus=menus, epoch=EPOCH))
    new = tree.load(probe(target))
    places = [roles.esp_place(files.iso, files) for files in (old, new)]
    assert places[0]
    assert places[1]
    assert places[1][1] > places[0][1]
    assert "argument599=" in partition_menu(target, tmp_path)
    with target.open("rb") as file:
        file.seek(places[1][0])
        assert esp.label(file.read(512))[0] == "TESTESP"


@pytest.mark.skipif(find("implantisomd5") is None, reason="needs isomd5sum")
def test_an_implanted_checksum_is_true_of_the_copy(tmp_path: Path, seed: Path) -> None:
    source, target = ubuntu(tmp_path), tmp_path / "out.iso"
    subprocess.run(["implantisomd5", source], check=True, capture_output=True)
    story.remaster(source, Target(path=target), with_seed(seed))
    assert subprocess.run(["checkisomd5", target], check=False).returncode == 0


def refused(source: Path, target: Path, changes: IsoChanges) -> str:
    with pytest.raises(BuildError) as caught:
        story.remaster(source, Target(path=target), changes)
    assert not target.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (IsoChanges(), "nothing to do"),
        (IsoChanges(volume_id="x" * 33), "a volume id has at most 32 characters"),
        (IsoChanges(volume_id="a\nb"), "a volume id has no '\\n'"),
        (IsoChanges(volume_id="it's"), 'a volume id has no "\'"'),
        (IsoChanges(sha256="abc"), "--sha256: no SHA-256 checksum: 'abc'"),
        (IsoChanges(menus=MenuChange(default="2")), "there is no menu entry 2"),
        (
            IsoChanges(add=tuple(Wish(source=HOST, path=path) for path in ("a", "a/b"))),
            "a is to be a file, and a directory",
        ),
        (
            IsoChanges(
                replace=(Substitution(path="casper/initrd", old="init", new="x"),),
                remove=("casper",),
            ),
            "casper/initrd is to be changed, and to be removed",
        ),
        (
            IsoChanges(remove=("boot/grub/i386-pc",)),
            "eltorito.img is boot image 1, which has to stay",
        ),
        (IsoChanges(remove=("casper/vmlinux",)), "did you mean 'casper/vmlinuz'"),
        (IsoChanges(add=(Wish(source=Path("/none"), path="x"),)), "/none: no such file"),
        (
            IsoChanges(menus=MenuChange(drop=("Foo*",))),
            "no menu entry is titled 'Foo*'\n  hint: there are: Install, Rescue",
        ),
        (IsoChanges(menus=MenuChange(default="Foo")), "no menu entry is titled 'Foo'"),
        (IsoChanges(menus=MenuChange(drop=("*",))), "no menu entry would be left"),
        (
            IsoChanges(add=(Wish(source=HOST, path="md5sum.txt/x"),)),
            "md5sum.txt is no directory in it",
        ),
    ],
)
def test_changes_that_cannot_be_are_refused(
    tmp_path: Path, changes: IsoChanges, message: str
) -> None:
    assert message in refused(ubuntu(tmp_path), tmp_path / "out.iso", changes)


def test_an_image_that_was_changed_in_place_is_refused(tmp_path: Path, seed: Path) -> None:
    source = ubuntu(tmp_path)
    subprocess.run(
        ["xorriso", "-boot_image", "any", "keep", "-dev", source, "-map", seed, "/x", "-commit"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert "was modified in place before" in refused(source, tmp_path / "out.iso", EVERYTHING)


def test_an_image_that_nothing_starts_is_refused_unless_asked_for(
    tmp_path: Path, seed: Path
) -> None:
    source = iso_layouts.mkisofs(tmp_path / "plain.iso", installer(tmp_path / "tree"))
    assert "has no boot record" in refused(source, tmp_path / "out.iso", with_seed(seed))
    changes = IsoChanges(add=(Wish(source=seed, path="/"),), epoch=EPOCH, unbootable=True)
    story.remaster(source, Target(path=tmp_path / "out.iso"), changes)
    assert "preseed.cfg" in tree.load(probe(tmp_path / "out.iso"))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], {"ADDED.CFG", "BOOT.BIN", "BOOT.CAT", "NEW", "NEW/X", "HELLO.TXT"}),
        (["-J"], {"added.cfg", "boot.bin", "boot.cat", "new", "new/x", "hello.txt"}),
    ],
)
def test_an_image_without_rock_ridge_stays_one(
    words: list[str], names: set[str], seed: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "plain.iso", tmp_path / "out.iso"
    (tmp_path / "tree").mkdir()
    for name in ("boot.bin", "hello.txt"):
        (tmp_path / "tree" / name).write_text(name)
    boot = ["-b", "boot.bin", "-c", "boot.cat", "-no-emul-boot"]
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "--norock", *words, *boot, "-o", source, tmp_path / "tree"],
        check=True, capture_output=True,
    )  # fmt: skip
    wishes = tuple(Wish(source=seed, path=path) for path in ("added.cfg", "new/x"))
    remarks = story.remaster(source, Target(path=target), IsoChanges(add=wishes, epoch=EPOCH))
    assert remarks[0].startswith("the image has no Rock Ridge: ")
    files = tree.load(probe(target))
    assert {*files.nodes} - {""} == names
    assert not files.iso.rock_ridge
    if not words:
        odd = IsoChanges(add=(Wish(source=seed, path="a b"),))
        assert "no way to name 'A B'" in refused(source, tmp_path / "x.iso", odd)


def test_the_source_and_older_files_are_never_written_over(tmp_path: Path) -> None:
    source = ubuntu(tmp_path)
    with pytest.raises(ConfigError, match="is the source, which is never changed"):
        story.remaster(source, Target(path=source, force=True), EVERYTHING)
    older = tmp_path / "older.iso"
    older.write_text("older")
    with pytest.raises(ConfigError, match="exists already"):
        story.remaster(source, Target(path=older), EVERYTHING)
    story.remaster(source, Target(path=older, force=True), EVERYTHING)
    assert probe(older).volume.id == "NEW ID"


def test_a_target_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + 2**40)
    changes = IsoChanges(add=(Wish(source=big, path="/"),))
    message = refused(ubuntu(tmp_path), tmp_path / "out.iso", changes)
    assert "out.iso: no space for it: " in message


def test_an_image_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    source = ubuntu(tmp_path)
    with source.open("r+b") as file:
        file.truncate(source.stat().st_size - 2**20)
    assert "truncated: " in refused(source, tmp_path / "out.iso", EVERYTHING)

"""Copies of ISO images that are edited in place are what xorriso would have made of them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from iso_layouts import mkisofs

from imagebuilder.errors import ConfigError
from imagebuilder.initrd.source import Wish
from imagebuilder.iso import esp, hfsplus, inplace, roles, tree, xorriso
from imagebuilder.iso.inplace import News, Wanted
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.model import BLOCK, Iso, Node
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.iso.xorriso import Copy, Put
from imagebuilder.process import find, run
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.output import Target
from tests.tools.test_tool_iso import (
    EPOCH,
    LAYOUTS,
    MENU,
    REAL,
    debian,
    image_of,
    installer,
    partition,
    proxmox,
    ubuntu,
)

if TYPE_CHECKING:
    from conftest import Packages

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("xorriso") is None, reason="needs xorriso"),
    pytest.mark.skipif(find("mcopy") is None, reason="needs mtools"),
]
Facts = dict[str, tuple[object, ...]]


def edited(files: Tree) -> tuple[Node, bytes]:
    """A file that nothing starts from, and another content that has room where it is."""
    fixed = {image.start for image in files.iso.images} | {files.iso.catalog * 2048}
    nodes = [n for n in files.nodes.values() if n.size and n.extents[0][0] not in fixed]
    node = next((n for n in nodes if n.size % 2048), nodes[0])
    content = files.read(node.path)
    return node, content + b"!" if node.size % 2048 else content[:-1] + b"!"


def facts(files: Tree) -> Facts:
    """Everything of all files but their places."""
    return {
        path: (n.mode, n.uid, n.gid, n.mtime, n.size, n.links, n.target, n.rdev)
        for path, n in files.nodes.items()
    }


def places(files: Tree) -> dict[str, tuple[tuple[int, int], ...]]:
    return {path: node.extents for path, node in files.nodes.items()}


def begin(node: Node) -> int:
    return node.extents[0][0] if node.extents else 0


def as_joliet(iso: Iso) -> Tree:
    return tree.load(replace(iso, rock_ridge=False))


def add(path: str, host: Path) -> IsoChanges:
    return IsoChanges(add=(Wish(source=host, path=path),), epoch=EPOCH)


@pytest.mark.parametrize("name", [*LAYOUTS, *REAL])
def test_an_edit_that_fits_is_what_xorriso_would_write(
    name: str, packages: Packages, tmp_path: Path
) -> None:
    source = image_of(name, packages, tmp_path)
    old = tree.load(probe(source))
    (node, content), host, target = edited(old), tmp_path / "new", tmp_path / "out.iso"
    host.write_bytes(content)
    twice(source, target, add(node.path, host))
    new = tree.load(probe(target))
    assert {path: begin(n) for path, n in new.nodes.items()} == {
        path: begin(n) for path, n in old.nodes.items()
    }
    assert target.stat().st_size == source.stat().st_size
    puts = [Put(source=host, path=node.path, mode=node.mode & 0o777, mtime=EPOCH)]
    if "md5sum.txt" in new:
        (tmp_path / "sums").write_bytes(new.read("md5sum.txt"))
        puts += [Put(source=tmp_path / "sums", path="md5sum.txt", mtime=EPOCH)]
    theirs = tmp_path / "theirs.iso"
    run(xorriso.copy(Copy(iso=old.iso, target=theirs, epoch=EPOCH, puts=tuple(puts))))
    expected = tree.load(probe(theirs))
    assert facts(new) == facts(expected)
    assert new.read(node.path) == expected.read(node.path) == host.read_bytes()
    assert replace(new.iso.volume, blocks=0, root=0) == replace(
        expected.iso.volume, blocks=0, root=0
    )
    if old.iso.joliet:
        assert facts(as_joliet(new.iso)) == facts(as_joliet(expected.iso))
    if old.iso.rock_ridge:
        assert theirs_read(target, node.path, tmp_path) == host.read_bytes()


def test_a_file_grows_into_the_padding_and_nothing_else_moves(tmp_path: Path) -> None:
    source, host = debian(tmp_path), tmp_path / "new"
    old = tree.load(probe(source))
    (node, content), place = edited(old), begin(old.nodes[edited(old)[0].path])
    lists = {path for path in old.nodes if path.endswith("sum.txt")}
    for number in range(2):
        target = tmp_path / f"{number}.iso"
        host.write_bytes(content.ljust((old.nodes[node.path].size + 9000) * (number + 1), b"%"))
        story.remaster(source, Target(path=target), add(node.path, host))
        new = tree.load(probe(target))
        assert target.stat().st_size == source.stat().st_size
        moved = {p for p, each in new.nodes.items() if begin(each) != begin(old.nodes[p])}
        assert moved == {node.path}
        assert new.read(node.path) == host.read_bytes()
        if not number:
            zeros = -(-node.size // 2048) * 2048
            assert target.read_bytes()[place : place + zeros] == bytes(zeros)
        kept = {*new.nodes} - {node.path} - lists
        assert all(facts(new)[path] == facts(old)[path] for path in kept)
        assert theirs_read(target, node.path, tmp_path) == host.read_bytes()
        source = target


@pytest.mark.parametrize("layout", ["ubuntu", "proxmox"])
def test_where_a_file_cannot_grow_it_is_left_to_xorriso(layout: str, tmp_path: Path) -> None:
    """Ubuntu's padding is behind its partition, and HFS+ has a catalog of its own."""
    source = LAYOUTS[layout](tmp_path)
    with pytest.raises(ValueError, match=r"does not fit|the HFS"):
        written(source, ".disk/info", bytes(3000))


def twice(source: Path, target: Path, changes: IsoChanges) -> None:
    """Copy an image twice, and see that it stays as it is and that the copies are the same."""
    before, again = source.read_bytes(), target.with_name("again.iso")
    for path in (target, again):
        story.remaster(source, Target(path=path), changes)
        for wish in changes.add:
            os.utime(wish.source)
    assert target.read_bytes() == again.read_bytes()
    assert source.read_bytes() == before


def theirs_read(image: Path, path: str, place: Path) -> bytes:
    """A file as xorriso reads it, after it has read all blocks of the image."""
    done = subprocess.run(
        ["osirrox", "-indev", image, "-check_media", "--", "-extract", f"/{path}", place / "read"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Media region" in done.stdout + done.stderr
    return (place / "read").read_bytes()


def test_the_tree_of_a_partition_that_is_mounted_by_itself_changes_too(tmp_path: Path) -> None:
    target = tmp_path / "out.iso"
    changes = IsoChanges(
        replace=(Substitution(path=".disk/info", old="1.0", new="1.0 of ACME"),),
        volume_id="NEW ID",
        epoch=EPOCH,
    )
    story.remaster(ubuntu(tmp_path), Target(path=target), changes)
    part = next(p for p in probe(target).partitions if p.start * BLOCK == 16 * 2048)
    cut = tmp_path / "partition.iso"
    with target.open("rb") as file:
        file.seek(part.start * BLOCK)
        cut.write_bytes(file.read())
    inside = probe(cut)
    assert inside.volume.id == "NEW ID"
    for files in (tree.load(inside), as_joliet(inside)):
        node = files.nodes[".disk/info"]
        assert files.read(".disk/info") == b"Test 1.0 of ACME\n"
        assert node.mtime == EPOCH


def hfs_files(image: Path) -> dict[int, tuple[int, int]]:
    """Size and date of all files that the HFS+ catalog names, by their first bytes."""
    with image.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        begin = hfsplus.volume(probe(image), read)
        assert begin is not None
        return {
            each.start: (each.size, *struct.unpack(">I", read(each.place + 16, 4)))
            for each in hfsplus.files(begin, read)
        }


def test_the_catalog_of_hfs_names_the_new_content(tmp_path: Path) -> None:
    source, target, host = proxmox(tmp_path), tmp_path / "out.iso", tmp_path / "new"
    host.write_text("Test 1.1 of ACME\n")
    story.remaster(source, Target(path=target), add(".disk/info", host))
    old, new = hfs_files(source), hfs_files(target)
    place = tree.load(probe(target)).nodes[".disk/info"].extents[0][0]
    assert len(old) > 5
    assert old.pop(place)[0] == len("Test 1.0\n")
    assert new.pop(place) == (len("Test 1.1 of ACME\n"), EPOCH + 2082844800)
    assert new == old


@pytest.mark.parametrize("layout", ["ubuntu", "debian"])
def test_an_edit_in_the_efi_partition_leaves_everything_where_it_is(
    layout: str, tmp_path: Path
) -> None:
    source, target = LAYOUTS[layout](tmp_path), tmp_path / "out.iso"
    story.remaster(source, Target(path=target), IsoChanges(menus=MenuChange(timeout=0)))
    old, new = (tree.load(probe(path)) for path in (source, target))
    assert places(new) == places(old) | {
        p: n.extents for p, n in new.nodes.items() if n.extents and n.mtime == 0
    }
    assert roles.esp_place(old.iso, old) == roles.esp_place(new.iso, new)
    assert target.stat().st_size == source.stat().st_size
    assert old.iso.partitions == new.iso.partitions


@pytest.mark.skipif(find("implantisomd5") is None, reason="needs isomd5sum")
def test_a_checksum_of_the_image_itself_is_implanted_again(tmp_path: Path) -> None:
    source, target = debian(tmp_path), tmp_path / "out.iso"
    subprocess.run(["implantisomd5", source], check=True, capture_output=True)
    story.remaster(source, Target(path=target), IsoChanges(menus=MenuChange(timeout=0)))
    assert probe(target).size == probe(source).size
    assert subprocess.run(["checkisomd5", target], check=False).returncode == 0


def written(source: Path, path: str, content: bytes) -> list[inplace.Write]:
    files = tree.load(probe(source))
    news = News(content=content, mode=0o444)
    return inplace.writes(files, Wanted(files={path: news}, epoch=EPOCH))


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        ("casper/initrd", bytes(2**20), "does not fit"),
        ("casper/initrd", b"", "has or had no content"),
        ("new", b"x", "is not a plain file"),
        ("casper", b"x", "is not a plain file"),
    ],
)
def test_what_does_not_fit_is_left_to_xorriso(
    tmp_path: Path, path: str, content: bytes, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        written(ubuntu(tmp_path), path, content)


def with_links(place: Path) -> Path:
    top = installer(place / "tree")
    (top / "linked").hardlink_to(top / ".disk/info")
    return mkisofs(place / "x.iso", "--hardlinks", "-b", "casper/vmlinuz", "-no-emul-boot", top)


def with_sums(place: Path) -> Path:
    top = installer(place / "tree")
    return mkisofs(place / "x.iso", "--md5", "-b", "casper/vmlinuz", "-no-emul-boot", top)


@pytest.mark.parametrize(
    ("build", "why"), [(with_links, "are at the same place"), (with_sums, "checksums of itself")]
)
def test_images_that_an_edit_in_place_would_break_are_left_to_xorriso(
    build: Callable[[Path], Path], why: str, tmp_path: Path
) -> None:
    source, host = build(tmp_path), tmp_path / "new"
    with pytest.raises(ValueError, match=why):
        written(source, ".disk/info", b"x")
    host.write_text("Test 1.1 of ACME\n")
    story.remaster(source, Target(path=tmp_path / "out.iso"), add(".disk/info", host))
    files = tree.load(probe(tmp_path / "out.iso"))
    assert files.read(".disk/info") == b"Test 1.1 of ACME\n"
    if build is with_links:
        assert files.read("linked") == b"Test 1.0\n"


def test_a_damaged_tree_of_joliet_is_left_to_xorriso(tmp_path: Path) -> None:
    source = debian(tmp_path)
    sector, _ = probe(source).joliet or (0, 0)
    with source.open("r+b") as image:
        image.seek(sector * 2048 + 68)
        image.write(b"\x05")
    with pytest.raises(ValueError, match="a damaged directory record"):
        written(source, ".disk/info", b"x")


@pytest.mark.parametrize("how", ["add", "remove"])
def test_the_boot_catalog_is_not_a_file_to_be_changed(how: str, tmp_path: Path) -> None:
    host = tmp_path / "new"
    host.write_text("x")
    changes = add("boot.catalog", host) if how == "add" else IsoChanges(remove=("boot.catalog",))
    with pytest.raises(ConfigError, match=r"boot\.catalog is the El Torito boot catalog"):
        story.remaster(ubuntu(tmp_path), Target(path=tmp_path / "out.iso"), changes)


def arm64(place: Path) -> Path:
    """Debian's for arm64: the EFI system partition is a file for CDs, and a partition for disks."""
    top = installer(place / "tree")
    image = partition(place, MENU)
    shutil.copy(image, top / "boot/grub/efi.img")
    return mkisofs(
        place / "a.iso", "-J", "-joliet-long", "-e", "boot/grub/efi.img", "-no-emul-boot",
        "-append_partition", 2, "0xef", image, "-partition_cyl_align", "all", top,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["in place", "anew"])
def test_a_second_copy_of_the_efi_partition_changes_with_the_first(
    how: str, tmp_path: Path
) -> None:
    source, target, host = arm64(tmp_path), tmp_path / "out.iso", tmp_path / "new"
    host.write_text("x")
    changes = IsoChanges(
        menus=MenuChange(timeout=7),
        add=(Wish(source=host, path="new"),) if how == "anew" else (),
        epoch=EPOCH,
    )
    story.remaster(source, Target(path=target), changes)
    before, files = (tree.load(probe(path)) for path in (source, target))
    moved = begin(before.nodes["casper/initrd"]) != begin(files.nodes["casper/initrd"])
    assert moved is (how == "anew")
    (twin,) = roles.other_esps(files.iso)
    found = roles.esp_place(files.iso, files)
    assert found is not None
    for start in (found[0], twin.start * BLOCK):
        image = tmp_path / f"{start}.img"
        image.write_bytes(b"".join(esp.pieces(target, start, found[1])))
        assert b"set timeout=7\n" in esp.read(image, "EFI/BOOT/grub.cfg", tmp_path, run)


def test_another_efi_partition_stays_and_that_is_said(tmp_path: Path) -> None:
    source = arm64(tmp_path)
    (other,) = roles.other_esps(probe(source))
    with source.open("r+b") as file:
        file.seek(other.end - 1)
        file.write(b"!")
    changes = IsoChanges(menus=MenuChange(timeout=7), epoch=EPOCH)
    remarks = story.remaster(source, Target(path=tmp_path / "out.iso"), changes)
    assert (
        "MBR partition 2 is another EFI system partition, whose menus stay as they are" in remarks
    )

"""squashfs images, changed and then looked at by the kernel's own tools."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from imagebuilder.cli import verbs
from imagebuilder.initrd.source import Wish
from imagebuilder.process import find
from imagebuilder.remaster import squashfs as story
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges
from imagebuilder.squashfs import stream, superblock

EPOCH = 1_700_000_000
PSEUDO = (
    "dev d 755 0 0", "dev/console c 600 0 5 5 1", "dev/sda b 660 0 6 8 0",
    "dev/pipe I 1700000000 644 7 8 f",
    "etc/owned m 640 104 4", "bin/su m 4755 0 0",
)  # fmt: skip
pytestmark = [
    pytest.mark.tools,
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("mksquashfs", "unsquashfs", "sqfs2tar", "tar2sqfs")
    ),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Everything that is hard to keep."""
    tree = tmp_path / "tree"
    for name in ("etc", "usr/bin", "usr/lib", "var/empty"):
        (tree / name).mkdir(parents=True)
    (tree / "bin").symlink_to("usr/bin")
    (tree / "bin").unlink()
    (tree / "bin").mkdir()
    (tree / "lib").symlink_to("usr/lib")
    (tree / "bin/su").write_bytes(b"\x7fELF" + os.urandom(200_000))
    (tree / "etc/owned").write_text("secret\n")
    (tree / "etc/os-release").write_text("NAME=Old\nNAME2=Old\n")
    (tree / f"usr/{'long' * 60}").write_text("long name\n")
    (tree / "usr/bin/one").write_text("linked\n" * 1000)
    for name in ("three", "two"):
        (tree / "usr/bin" / name).hardlink_to(tree / "usr/bin/one")
    return tree


def made(tree: Path, target: Path, *options: str) -> Path:
    words = [word for line in PSEUDO for word in ("-p", line)]
    subprocess.run(
        ["mksquashfs", tree, target, "-noappend", "-no-progress", "-quiet", "-no-recovery",
         *options, *words],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture
def image(tree: Path, tmp_path: Path) -> Path:
    return made(tree, tmp_path / "old.squashfs", "-comp", "zstd", "-Xcompression-level", "6")


def rows(image: Path) -> dict[str, str]:
    """unsquashfs' own listing, by path."""
    done = subprocess.run(
        ["unsquashfs", "-lln", "-d", "", image], capture_output=True, text=True, check=True
    )
    found = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"(\S{10} \S+ +(?:\d+, *)?\d+ \S+ \S+) (.*)$", line):
            found[match[2]] = match[1]
    return found


def content(image: Path, path: str) -> bytes:
    return subprocess.run(
        ["unsquashfs", "-cat", image, path], capture_output=True, check=True
    ).stdout


def edited(image: Path, changes: TreeChanges) -> Path:
    target = image.with_name("new.squashfs")
    story.rewrite(image, Target(path=target, force=True), changes)
    return target


def test_an_edit_keeps_everything_else(image: Path, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_text("x\n")
    os.utime(seed, (1, 1))
    changes = TreeChanges(add=(Wish(source=seed, path="etc/seed"),), epoch=EPOCH)
    before, after = rows(image), rows(edited(image, changes))
    new = {path: row for path, row in after.items() if before.get(path) != row}
    directories = {path for path, row in new.items() if row.startswith("d")}  # stored sizes differ
    assert {*new} - directories == {"/etc/seed"}
    assert {*before} - {*after} == set()
    assert re.match(r"-rw-r--r-- 0/0 +2 2023-11-14 22:13", after["/etc/seed"])
    assert after["/dev/console"].startswith("crw------- 0/5")
    assert after["/bin/su"].startswith("-rwsr-xr-x 0/0")
    assert after["/etc/owned"].startswith("-rw-r----- 104/4")


def test_contents_that_were_not_changed_are_the_same(image: Path, tree: Path) -> None:
    new = edited(image, TreeChanges(delete=("etc/owned",)))
    for name in ("bin/su", "usr/bin/two", f"usr/{'long' * 60}"):
        assert content(new, name) == (tree / name).read_bytes()


def test_two_edits_give_the_same_bytes(image: Path) -> None:
    changes = TreeChanges(delete=("etc/owned",))
    first = hashlib.sha256(edited(image, changes).read_bytes()).digest()
    assert hashlib.sha256(edited(image, changes).read_bytes()).digest() == first


@pytest.mark.parametrize(
    "gone", [("usr/bin/one",), ("usr/bin/one", "usr/bin/three"), ("usr/bin/two",)]
)
def test_hard_links_survive_the_loss_of_any_name(image: Path, gone: tuple[str, ...]) -> None:
    new = edited(image, TreeChanges(delete=gone))
    left = {"usr/bin/one", "usr/bin/two", "usr/bin/three"} - {*gone}
    assert {content(new, name) for name in left} == {b"linked\n" * 1000}
    files = story.listing(new).files
    assert {len(files[name].names) for name in left} == {len(left)}
    assert not {*gone} & {*files}


def test_a_text_is_replaced_under_all_names(image: Path) -> None:
    row = Substitution(path="usr/bin/two", old="linked", new="LINKED")
    new = edited(image, TreeChanges(replace=(row,)))
    assert content(new, "usr/bin/one") == b"LINKED\n" * 1000


def test_a_patch_is_applied(image: Path, tmp_path: Path) -> None:
    diff = tmp_path / "diff"
    diff.write_text(
        "--- a/etc/os-release\n+++ b/etc/os-release\n@@ -1 +1 @@\n-NAME=Old\n+NAME=New\n"
    )
    new = edited(image, TreeChanges(patches=(diff,)))
    assert content(new, "etc/os-release") == b"NAME=New\nNAME2=Old\n"


def test_an_addition_below_a_symlink_goes_where_it_leads(image: Path, tmp_path: Path) -> None:
    (tmp_path / "mod.ko").write_text("x")
    wish = Wish(source=tmp_path / "mod.ko", path="lib/modules/6.1/mod.ko")
    listed = rows(edited(image, TreeChanges(add=(wish,))))
    assert "/usr/lib/modules/6.1/mod.ko" in listed
    assert listed["/lib -> usr/lib"].startswith("l")


@pytest.mark.parametrize(
    ("options", "compressor", "extra"),
    [
        (("-comp", "xz", "-Xbcj", "x86", "-b", "262144"), "xz", ("dictsize=262144", "x86")),
        (("-comp", "gzip", "-Xcompression-level", "4"), "gzip", ("level=4", "window=15")),
        (("-comp", "zstd", "-Xcompression-level", "6"), "zstd", ("level=6",)),
        (("-comp", "lz4", "-Xhc"), "lz4", ("hc",)),
        (("-comp", "gzip", "-no-exports"), "gzip", ()),
    ],
)
def test_a_copy_is_made_as_the_original_was(
    tree: Path, tmp_path: Path, options: tuple[str, ...], compressor: str, extra: tuple[str, ...]
) -> None:
    source = made(tree, tmp_path / "source.squashfs", *options)
    before = superblock.load(source)
    assert (before.compressor, before.options) == (compressor, extra)
    new = edited(source, TreeChanges(delete=("etc/owned",)))
    subprocess.run(["unsquashfs", "-lln", new], check=True, capture_output=True)
    after = superblock.load(new)
    assert (after.compressor, after.block, after.exportable) == (
        before.compressor, before.block, before.exportable,
    )  # fmt: skip
    assert after.options == before.options


@pytest.mark.skipif(os.geteuid() != 0, reason="sets capabilities")
@pytest.mark.skipif(find("getfattr") is None, reason="needs getfattr")
def test_capabilities_and_other_attributes_are_kept(tree: Path, tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tree / "bin/su", "security.capability", capability)
    os.setxattr(tree / "etc/owned", "user.mine", b"\xff\x00\xfe")
    source = made(tree, tmp_path / "source.squashfs", "-xattrs")
    new = edited(source, TreeChanges(delete=("etc/os-release",)))
    place = tmp_path / "unpacked"
    subprocess.run(
        ["unsquashfs", "-no-progress", "-d", place, new], check=True, capture_output=True
    )
    assert os.getxattr(place / "bin/su", "security.capability") == capability
    assert os.getxattr(place / "etc/owned", "user.mine") == b"\xff\x00\xfe"


def test_a_layer_hides_what_is_deleted_and_has_the_base_s_directories(
    image: Path, tmp_path: Path
) -> None:
    (tmp_path / "seed").write_text("x\n")
    changes = TreeChanges(
        delete=("etc/owned",), add=(Wish(source=tmp_path / "seed", path="lib/seed"),), epoch=EPOCH
    )
    target = tmp_path / "layer.squashfs"
    story.layer(Target(path=target), changes, image)
    listed = rows(target)
    assert re.match(r"c--------- 0/0 +0, +0 ", listed["/etc/owned"])
    assert "/usr/lib/seed" in listed
    base = rows(image)
    assert listed["/usr/lib"].split()[0] == base["/usr/lib"].split()[0]
    assert "/lib -> usr/lib" not in listed


def test_the_verbs_do_the_same(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "verb.squashfs"
    words = ["edit", image, "-o", new, "--replace", "etc/os-release", "Old", "Verb"]
    assert verbs.main(["squashfs", *map(str, words)]) == 0
    assert verbs.main(["squashfs", "ls", "--json", str(new)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["compressor"] == "zstd"
    assert {"dev/console", "etc/os-release"} <= {row["path"] for row in document["files"]}
    assert content(new, "etc/os-release") == b"NAME=Verb\nNAME2=Verb\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ls", "/none"), "/none: no such file"),
        (("ls", "TEXT"), "not a squashfs image (looks like text)"),
        (("ls", "CUT"), "truncated: the file system ends at byte "),
        (("cat", "IMAGE", "etc"), "etc is no regular file"),
        (("cat", "IMAGE", "etc/none"), "etc/none is not in it"),
        (("edit", "IMAGE", "-o", "NEW"), "nothing to do: no change was asked for"),
        (("edit", "IMAGE", "-o", "NEW", "--delete", "none"), "none is not in it"),
        (
            ("edit", "IMAGE", "-o", "IMAGE", "--delete", "etc"),
            "is the source, which is never changed",
        ),
        (
            ("edit", "IMAGE", "-o", "NEW", "--replace", "etc/owned", "a", "b"),
            "'a' does not occur in it",
        ),
        (("layer", "-o", "NEW"), "nothing to do: neither files nor deletions"),
        (("layer", "-o", "NEW", "--on", "IMAGE", "--delete", "none"), "none is not in it"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "cut").write_bytes(image.read_bytes()[:90000])
    names = {"IMAGE": image, "NEW": tmp_path / "new", "TEXT": tmp_path / "text"}
    names["CUT"] = tmp_path / "cut"
    before = image.read_bytes()
    assert verbs.main(["squashfs", *(str(names.get(word, word)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert image.read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_it_is_known_what_tar2sqfs_was_built_with() -> None:
    assert {"gzip", "xz"} <= {*stream.offered()} <= {*superblock.COMPRESSORS.values()}


@pytest.mark.parametrize(
    "words",
    [
        "edit IMAGE --add FILE:/x",
        "pack TREE --compress zstd",
        "pack TREE --like IMAGE",
        "layer --on IMAGE --add FILE:/x",
    ],
)
def test_a_compression_that_tar2sqfs_lacks_is_told_before_the_work(
    image: Path,
    tree: Path,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "offered", lambda: ("gzip", "xz"))
    out = tree / "out"
    named = words.replace("IMAGE", str(image)).replace("TREE", str(tree))
    named = named.replace("FILE", str(tree / "etc/owned"))
    assert verbs.main(["squashfs", *named.split(), "-o", str(out)]) == 3
    said = capsys.readouterr().err
    assert "tar2sqfs does not know the compression 'zstd' here" in said
    assert "it knows gzip, xz;" in said
    assert not out.exists()

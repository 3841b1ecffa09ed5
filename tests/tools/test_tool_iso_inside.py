"""Changes inside what an ISO image holds, planned at once, and compared afterwards."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.cli import verbs
from imagebuilder.errors import BuildError, ConfigError
from imagebuilder.initrd import load, rootfs
from imagebuilder.iso import checksums, tree
from imagebuilder.iso.probe import probe
from imagebuilder.process import find
from imagebuilder.remaster import inner, squashfs
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.initrd import Substitution
from imagebuilder.remaster.iso_diff import parts, shown
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.output import Target
from imagebuilder.remaster.squashfs import TreeChanges
from tests.tools.test_tool_iso import EPOCH, ubuntu
from tests.tools.test_tool_report import FRAME, browse

if TYPE_CHECKING:
    from conftest import Packages

pytestmark = [
    pytest.mark.tools,
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("xorriso", "mcopy", "sqfs2tar", "tar2sqfs")
    ),
]
STATUS = """\
Package: one
Status: install ok installed
Architecture: amd64
Version: {one}

Package: two
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 3
"""
ROOT = "casper/minimal.squashfs"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installer with a root filesystem, and with lists beside that."""
    place = tmp_path_factory.mktemp("inside")
    root = place / "root"
    for name, text in {
        "etc/os-release": "NAME=Old\n",
        "var/lib/dpkg/status": STATUS.format(one=1),
        "usr/bin/tool": "tool\n" * 5000,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    casper = place / "tree/casper"
    casper.mkdir(parents=True)
    squashfs.pack(root, casper / "minimal.squashfs", squashfs.USUAL, EPOCH)
    (casper / "minimal.manifest").write_text("one\t1\ntwo:amd64\t2\n")
    (casper / "minimal.size").write_text("0\n")
    return ubuntu(place)


def test_a_root_filesystem_is_changed_and_what_lies_beside_it(image: Path, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS.format(one="1.1"))
    (tmp_path / "big").write_bytes(b"x" * 9000)
    words = [
        "iso", "remaster", str(image), "-o", str(tmp_path / "new.iso"),
        "--squashfs-replace", f"/{ROOT}", "/etc/os-release", "Old", "New",
        "--squashfs-add", ROOT, f"{tmp_path}/status:/var/lib/dpkg/status",
        "--squashfs-add", ROOT, f"{tmp_path}/big:/",
        "--diff", str(tmp_path / "diff.html"),
    ]  # fmt: skip
    assert verbs.main(words) == 0
    files = tree.load(probe(tmp_path / "new.iso"))
    inside = inner.image(files, ROOT)
    inodes = dict(inside.files())
    assert b"".join(inside.pieces(inodes["etc/os-release"])) == b"NAME=New\n"
    assert files.read("casper/minimal.manifest") == b"one\t1.1\ntwo:amd64\t2\n"
    clusters = {"root, etc, var, lib, dpkg, usr, bin": 7, "files": 1 + 1 + 7, "big": 3}
    assert int(files.read("casper/minimal.size")) == 4096 * sum(clusters.values())
    listed = checksums.listed(files.read("md5sum.txt").decode())
    for path in (ROOT, "casper/minimal.manifest"):
        assert checksums.digest("md5", files.pieces(files.file(path))) == listed[path]
    old = tree.load(probe(image))
    text = "\n".join(shown(parts(old, files)))
    assert f"files of {ROOT}:\n  added: big\n  changed: etc/os-release" in text
    assert f"packages of {ROOT}:\n  changed: one: 1 -> 1.1" in text
    assert "minimal.manifest" in (tmp_path / "diff.html").read_text()


def test_an_image_is_looked_into(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["iso", "show", str(image)]) == 0
    said = capsys.readouterr().out
    for role, path in {
        "loader": "boot/grub/i386-pc/eltorito.img", "menu": "boot/grub/grub.cfg",
        "kernel": "casper/vmlinuz", "initrd": "casper/initrd", "squashfs": ROOT,
        "packages": "pool", "hook": ".disk/info",
    }.items():  # fmt: skip
        assert re.search(rf"^{role} +{re.escape(path)}  ", said, re.MULTILINE), role
    assert "outside the file tree)" in said
    assert verbs.main(["iso", "boot", str(image)]) == 0
    assert re.search(r"^GPT partition 3: .* 'Gap1', .*: what is between", capsys.readouterr().out,
                     re.MULTILINE)  # fmt: skip
    assert verbs.main(["iso", "boot", "--mkisofs", str(image)]) == 0
    assert "--protective-msdos-label\n" in capsys.readouterr().out
    assert verbs.main(["iso", "ls", str(image), "/casper"]) == 0
    assert " casper/vmlinuz\n" in capsys.readouterr().out
    assert verbs.main(["iso", "cat", str(image), "/.disk/info"]) == 0
    assert capsys.readouterr().out == "Test 1.0\n"


def test_all_that_is_in_the_way_is_said_at_once_and_nothing_is_written(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "iso", "remaster", str(image), "-o", str(tmp_path / "new.iso"), "--volume-id", "x" * 33,
        "--add", "/none/such:/", "--remove", "/zzz", "--drop-entry", "Foo",
        "--replace", "/boot/grub/grub.cfg", "Nonesuch", "x", "--patch", "/none/diff",
        "--squashfs-replace", ROOT, "etc/os-release", "Nonesuch", "x",
        "--squashfs-delete", "casper/vmlinuz", "x", "--initrd", "/casper/initrd0",
        "--initrd-append", "/none/such:/", "--sha256", "0" * 64,
    ]  # fmt: skip
    before = image.read_bytes()
    assert verbs.main(words) == 2
    said = capsys.readouterr().err
    for what in (
        "a volume id has at most 32 characters", "/none/such: no such file",
        "/zzz is not in it", "no menu entry is titled 'Foo'",
        "/boot/grub/grub.cfg: 'Nonesuch' does not occur in it", "/none/diff: no such file",
        "/etc/os-release: 'Nonesuch' does not occur in it".replace("/etc", "etc"),
        "casper/vmlinuz: not a squashfs image", "casper/initrd0 is not in it",
        "is another image: its SHA-256 is",
    ):  # fmt: skip
        assert what in said, what
    assert "10 things are in the way" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == []
    assert image.read_bytes() == before


def test_a_dry_run_says_what_would_be_and_writes_nothing(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "iso", "remaster", str(image), "-o", str(tmp_path / "new.iso"), "--timeout", "1",
        "--squashfs-delete", ROOT, "usr/bin/tool", "--dry-run",
    ]  # fmt: skip
    assert verbs.main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert "changed: boot/grub/grub.cfg" in said
    assert f"packed again: {ROOT}" in said
    assert said[-1].startswith("up to ")
    assert list(tmp_path.iterdir()) == []


def test_a_signature_that_would_be_none_is_in_the_way(image: Path, tmp_path: Path) -> None:
    (tmp_path / "sig").write_text("signature")
    signed = tmp_path / "signed.iso"
    add = ["--add", f"{tmp_path}/sig:/{ROOT}.gpg"]
    assert verbs.main(["iso", "remaster", str(image), "-o", str(signed), *add]) == 0
    edit = TreeChanges(delete=("usr/bin/tool",))
    changes = IsoChanges(squashfs={ROOT: edit}, epoch=EPOCH)
    with pytest.raises(ConfigError, match="is a signature, which will not be one"):
        story.remaster(signed, Target(path=tmp_path / "a.iso"), changes)
    allowed = IsoChanges(squashfs={ROOT: edit}, remove=(f"{ROOT}.gpg",), epoch=EPOCH)
    story.remaster(signed, Target(path=tmp_path / "a.iso"), allowed)
    assert f"{ROOT}.gpg" not in tree.load(probe(tmp_path / "a.iso"))


def generated(name: str, passphrase: str) -> str:
    words = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase]
    subprocess.run([*words, "--quick-gen-key", name, "ed25519"], check=True)
    return name


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if find("gpg") is None:
        pytest.skip("needs gpg")
    with tempfile.TemporaryDirectory() as home:  # its path has to be short, for agents' sockets
        monkeypatch.setenv("GNUPGHOME", home)
        yield generated("iso@example.org", "")
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)


def verified(files: tree.Tree, path: str, end: str, place: Path) -> bytes:
    """The signature beside a file, which is one."""
    (place / "content").write_bytes(files.read(path))
    (place / "signature").write_bytes(files.read(f"{path}{end}"))
    words = ["gpg", "--batch", "--verify", place / "signature", place / "content"]
    subprocess.run(words, check=True, capture_output=True)
    return files.read(f"{path}{end}")


def test_signatures_beside_what_changes_are_renewed_with_a_key(
    image: Path, key: str, tmp_path: Path
) -> None:
    old = {f"{ROOT}.gpg": b"-----BEGIN PGP SIGNATURE-----", "boot/grub/grub.cfg.sig": b"\x88\0"}
    words = ["iso", "remaster", str(image), "-o", str(tmp_path / "signed.iso")]
    for number, (path, content) in enumerate({**old, "md5sum.txt.gpg": b"\x88"}.items()):
        (tmp_path / str(number)).write_bytes(content)
        words += ["--add", f"{tmp_path}/{number}:/{path}"]
    assert verbs.main(words) == 0
    words = ["iso", "remaster", str(tmp_path / "signed.iso"), "--timeout", "1", "--key", key]
    words += ["--squashfs-delete", ROOT, "usr/bin/tool", "-o"]
    for name in ("one.iso", "two.iso"):
        assert verbs.main([*words, str(tmp_path / name)]) == 0
    assert (tmp_path / "one.iso").read_bytes() == (tmp_path / "two.iso").read_bytes()
    files = tree.load(probe(tmp_path / "one.iso"))
    assert verified(files, ROOT, ".gpg", tmp_path).startswith(old[f"{ROOT}.gpg"])
    assert verified(files, "boot/grub/grub.cfg", ".sig", tmp_path)[0] == 0x88
    assert verified(files, "md5sum.txt", ".gpg", tmp_path)[0] == 0x88
    listed = checksums.listed(files.read("md5sum.txt").decode())
    assert listed[f"{ROOT}.gpg"] == checksums.digest("md5", [files.read(f"{ROOT}.gpg")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--diff", "none/x.html"], "none/x.html: there is no directory none"),
        (["--diff", "new.iso"], "--diff: is the new image"),
        (["--test-mode", "bios-cd", "--test-expect", "("], "not a regular expression: '('"),
        (["--test-mode", "bios-cd", "--test-memory", "lots"], "--memory"),
        (["--tree", "none"], "none: is no directory"),
        (["--argument", ""], "--argument: an empty one makes no sense"),
        (["--timeout", "soon"], "argument --timeout: invalid int value: 'soon'"),
        (["--deb", "none.deb"], "none.deb: no such file"),
    ],
)
def test_what_only_the_end_would_show_is_said_before_anything_is_written(
    words: list[str],
    message: str,
    image: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.chdir(place)
        given = ["iso", "remaster", str(image), "-o", "new.iso", "--default", "1"]
        assert verbs.main([*given, *words]) == 2
        assert list(Path(place).iterdir()) == []
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_key_that_cannot_be_used_is_said_before_any_work(
    image: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = generated(f"locked-{key}", "secret")
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)  # it knows the passphrase
    (tmp_path / "sig").write_text("signature")
    words = ["iso", "remaster", str(image), "-o", str(tmp_path / "signed.iso")]
    assert verbs.main([*words, "--add", f"{tmp_path}/sig:/{ROOT}.gpg"]) == 0
    words = ["iso", "remaster", str(tmp_path / "signed.iso"), "-o", str(tmp_path / "new.iso")]
    words += ["--squashfs-delete", ROOT, "usr/bin/tool", "--dry-run", "--key"]
    assert verbs.main([*words, locked]) == 2
    assert f"key {locked}: cannot sign: " in capsys.readouterr().err
    assert verbs.main([*words, key]) == 0


def test_a_key_that_is_not_there_is_said_before_anything_is_written(
    image: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["iso", "remaster", str(image), "-o", str(tmp_path / "new.iso"), "--timeout", "1"]
    assert verbs.main([*words, "--key", f"other-{key}"]) == 2
    assert f"there is no secret key 'other-{key}'" in capsys.readouterr().err
    assert not (tmp_path / "new.iso").exists()


def test_texts_and_initrds_are_changed_where_they_are(image: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x\n")
    words = [
        "iso", "remaster", str(image), "-o", str(tmp_path / "new.iso"), "--timeout", "3",
        "--replace", ".disk/info", "1.0", "2.0", "--initrd-replace", "init", "/bin/sh", "/bin/ash",
        "--initrd-append", f"{tmp_path}/x:/",
    ]  # fmt: skip
    assert verbs.main(words) == 0
    files = tree.load(probe(tmp_path / "new.iso"))
    assert files.read(".disk/info") == b"Test 2.0\n"
    initrd = load.load(files.read("casper/initrd"), "x")
    assert len(initrd.segments) == 2
    assert rootfs.of(initrd).files["init"].content == b"#!/bin/ash\n"


def test_a_directory_goes_back_with_what_was_changed_in_it(image: Path, tmp_path: Path) -> None:
    place, new = tmp_path / "tree", tmp_path / "new.iso"
    assert verbs.main(["iso", "extract", str(image), "-o", str(place)]) == 0
    (place / "casper/script").write_text("#!/bin/sh\n")
    (place / "casper/script").chmod(0o755)
    (place / ".disk/info").write_text("Other 1.0\n")
    shutil.rmtree(place / "pool")
    words = ["iso", "remaster", str(image), "-o", str(new), "--tree", str(place)]
    assert verbs.main(words) == 0
    old, files = tree.load(probe(image)), tree.load(probe(new))
    assert {*files.nodes} - {*old.nodes} == {"casper/script"}
    assert {path.split("/")[0] for path in {*old.nodes} - {*files.nodes}} == {"pool"}
    assert files.nodes["casper/script"].mode & 0o777 == 0o555
    assert files.nodes["casper/vmlinuz"].mtime == old.nodes["casper/vmlinuz"].mtime
    (place / "casper/link").symlink_to("script")
    changes = IsoChanges(tree=place)
    with pytest.raises(BuildError, match=r"casper/link: is no regular file"):
        story.remaster(image, Target(path=tmp_path / "b.iso"), changes)


def test_an_initrds_directory_goes_back_with_what_was_changed_in_it(
    image: Path, tmp_path: Path
) -> None:
    initrd, place = tmp_path / "initrd", tmp_path / "tree"
    initrd.write_bytes(tree.load(probe(image)).read("casper/initrd"))
    assert verbs.main(["initrd", "extract", str(initrd), "-o", str(place)]) == 0
    words = ["initrd", "edit", str(initrd), "--tree", str(place), "-o"]
    assert verbs.main([*words, str(tmp_path / "same"), "--unchanged"]) == 0
    assert (tmp_path / "same").read_bytes() == initrd.read_bytes()
    assert verbs.main([*words, str(tmp_path / "none")]) == 2
    (place / "sub/dir").mkdir(parents=True)
    (place / "sub/dir/file").write_text("new\n")
    (place / "init").unlink()
    (place / "init").symlink_to("sub/dir/file")
    assert verbs.main([*words, str(tmp_path / "new")]) == 0
    files = rootfs.of(load.load((tmp_path / "new").read_bytes(), "x")).files
    assert files["init"].target == "sub/dir/file"
    assert files["sub/dir/file"].content == b"new\n"


PROBE = """
addEventListener("load", () => {
  const told = { rows: document.querySelectorAll("tbody tr").length, width: innerWidth };
  told.overflow = document.documentElement.scrollWidth - innerWidth;
  told.links = [...document.querySelectorAll("nav a")]
    .filter((a) => !document.querySelector(a.getAttribute("href"))).length;
  parent.postMessage(JSON.stringify(told), "*");
});
"""


@pytest.mark.skipif(find("chromium") is None, reason="needs chromium")
def test_the_page_of_differences_is_fit_to_be_seen(image: Path, tmp_path: Path) -> None:
    new, page = tmp_path / "new.iso", tmp_path / "page.html"
    add = ["--timeout", "1", "--add", f"/etc/hostname:/{'long' * 40}/", "--initrd-append"]
    words = ["iso", "remaster", str(image), "-o", str(new), *add, "/etc/hostname:/"]
    assert verbs.main(words) == 0
    assert verbs.main(["iso", "diff", str(image), str(new), "--html", str(page)]) == 1

    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    text = page.read_text().replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    page.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=page.name, width=360, height=800))
    flags = ("--window-size=1400,1000", "--dump-dom")
    dom, complaints = browse(frame, tmp_path / "profile", *flags)
    told = re.search(r'data-told="([^"]*)"', dom)
    assert told, complaints
    seen = json.loads(html.unescape(told[1]))
    assert complaints == ""
    assert (seen["width"], seen["links"]) == (360, 0)
    assert seen["overflow"] <= 0
    assert seen["rows"] > 8


def test_the_json_of_differences_says_the_same(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["iso", "diff", str(image), str(image), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    new = tmp_path / "new.iso"
    story.remaster(
        image,
        Target(path=new),
        IsoChanges(replace=(Substitution(path=".disk/info", old="T", new="t"),)),
    )
    capsys.readouterr()
    assert verbs.main(["iso", "diff", str(image), str(new), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    row = next(part for part in found if part["title"] == "files")
    assert ".disk/info" in [each["what"] for each in row["differences"]]


def test_a_test_of_what_cannot_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    plain = tmp_path / "plain.iso"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-o", plain, tmp_path / "x"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert verbs.main(["iso", "test", str(plain)]) == 2
    assert verbs.main(["iso", "test", str(tmp_path / "none.iso")]) == 2
    assert verbs.main(["iso", "test", str(plain), "--level", "marker"]) == 2


def test_a_kernel_that_is_not_signed_any_more_is_told_of(
    packages: Packages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "tree/EFI"
    top.mkdir(parents=True)
    shim = packages.tree("shim-signed") / "usr/lib/shim/shimx64.efi.signed"
    shutil.copy(shim, top / "kernel.efi")
    unsigned = next(packages.tree("grub-efi-amd64-bin").rglob("grubx64.efi"))
    source = ubuntu(tmp_path)
    words = ["iso", "remaster", str(source), "-o", str(tmp_path / "new.iso"), "--add"]
    assert verbs.main([*words, f"{unsigned}:/EFI/kernel.efi"]) == 0
    assert "EFI/kernel.efi was signed and is not any more" in capsys.readouterr().out
    assert verbs.main([*words, f"{shim}:/EFI/kernel.efi", "--force", "--timeout", "1"]) == 0
    assert "signed" not in capsys.readouterr().out


def test_a_change_that_a_layer_above_hides_is_told_of(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "upper/etc").mkdir(parents=True)
    (tmp_path / "upper/etc/os-release").write_text("NAME=Upper\n")
    layer, both = tmp_path / "layer.squashfs", tmp_path / "both.iso"
    squashfs.pack(tmp_path / "upper", layer, squashfs.USUAL, EPOCH)
    words = ["iso", "remaster", str(image), "-o", str(both)]
    assert verbs.main([*words, "--add", f"{layer}:/casper/minimal.standard.squashfs"]) == 0
    assert verbs.main(["iso", "show", str(both)]) == 0
    assert "bytes, on minimal.squashfs\n" in capsys.readouterr().out
    words = ["iso", "remaster", str(both), "-o", str(tmp_path / "new.iso"), "--dry-run"]
    change = ["--squashfs-replace", ROOT, "etc/os-release", "Old", "New"]
    assert verbs.main([*words, *change, "--squashfs-delete", ROOT, "usr/bin/tool"]) == 0
    said = capsys.readouterr().out
    assert f"etc/os-release in {ROOT} is hidden by casper/minimal.standard.squashfs" in said
    assert "usr/bin/tool in" not in said

"""CDs by elements: the installer's of somebody else with changes, and new ones."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.initrd import load, rootfs
from imagebuilder.iso import checksums, tree
from imagebuilder.iso.probe import probe
from imagebuilder.iso.tree import Tree
from imagebuilder.process import find
from imagebuilder.remaster import inner, iso_diff, squashfs
from tests.tools.test_tool_iso import ubuntu

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("xorriso", "mcopy", "sqfs2tar", "tar2sqfs")
    ),
]
BRANDING = {
    "element-deps": "debian-installer-iso\n",
    "media.d/50-branding": 'echo acme >"$TARGET_MEDIA/acme"\nrm -r "$TARGET_MEDIA/pool"\n'
    'sed -i s/Install/Deploy/ "$TARGET_MEDIA/boot/grub/grub.cfg"\n'
    '[ -d "$TARGET_ROOT/etc" ]\n',
    "initrd.d/50-branding": 'echo "d-i x y z" >"$TARGET_INITRD/preseed.cfg"\n',
}
MENUS = {
    "grub.cfg": "menuentry a {\n\tlinux ($root)/gone x\n\tinitrd /gone\n}\nmenuentry b {\n"
    "  linux\t/casper/vmlinuz quiet\n  initrd ${prefix}/casper/initrd\n}\n",
    "isolinux.cfg": "label a\n  kernel /casper/vmlinuz\n  append quiet initrd=/casper/initrd ---\n",
    "empty.cfg": "set timeout=1\n",
}
MEDIUM = """\
mkdir -p "$TARGET_MEDIA/boot/grub/i386-pc"
grub-mkimage -O i386-pc-eltorito -d /usr/lib/grub/i386-pc -p /boot/grub \\
    -o "$TARGET_MEDIA/boot/grub/i386-pc/eltorito.img" biosdisk iso9660 normal
cp /usr/lib/grub/i386-pc/boot_hybrid.img "$TMP_BUILD_DIR/medium/mbr.img"
echo "menuentry a { true }" >"$TARGET_MEDIA/boot/grub/grub.cfg"
cp "$TARGET_ROOT/etc/passwd" "$TARGET_MEDIA/"
"""


NAMED = Path(__file__).parents[2] / "elements/iso-medium/iso-medium/named-in-menus"


@pytest.mark.parametrize(
    ("menu", "kernel", "initrd"),
    [
        ("grub.cfg", "casper/vmlinuz", "casper/initrd"),
        ("isolinux.cfg", "casper/vmlinuz", "casper/initrd"),
        ("empty.cfg", "", ""),
    ],
)
def test_kernel_and_initrd_are_found_by_menus(
    tmp_path: Path, menu: str, kernel: str, initrd: str
) -> None:
    (tmp_path / "casper").mkdir()
    for name in ("vmlinuz", "initrd"):
        (tmp_path / "casper" / name).touch()
    (tmp_path / menu).write_text(MENUS[menu])
    for kind, expected in (("kernel", kernel), ("initrd", initrd)):
        done = subprocess.run([NAMED, kind, tmp_path], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ubuntu(tmp_path_factory.mktemp("base"))


def custom(
    workshop: Workshop, base: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    workshop.element("branding", BRANDING)
    given = {"DIB_BASE_ISO": f"file:{base}", **variables}
    return workshop.create("-n", "-t", "iso", "-o", "custom", "branding", *words, **given)


def test_hooks_change_the_cd_and_its_initrd(workshop: Workshop, base: Path) -> None:
    before = base.read_bytes()
    wanted = {"VOLUME_ID": "ACME", "TIMEOUT": "0", "KERNEL_ARGS": "auto=true"}
    given = {f"DIB_ISO_{name}": value for name, value in wanted.items()}
    done = custom(workshop, base, **given)
    assert done.returncode == 0, done.stdout
    old, new = tree.load(probe(base)), tree.load(probe(workshop.directory / "custom.iso"))
    assert base.read_bytes() == before
    assert new.iso.volume.id == "ACME"
    assert new.read("acme") == b"acme\n"
    assert not [path for path in new.nodes if path.startswith("pool")]
    assert new.nodes["casper/vmlinuz"].mtime == old.nodes["casper/vmlinuz"].mtime
    menu = new.read("boot/grub/grub.cfg").decode()
    assert 'menuentry "Deploy"' in menu
    assert "set timeout=0\n" in menu
    assert "auto=true ---" in menu
    assert "-l ACME" in menu.replace("'", "")
    files = rootfs.of(load.load(new.read("casper/initrd"), "x")).files
    assert files["preseed.cfg"].content == b"d-i x y z\n"
    listed = checksums.listed(new.read("md5sum.txt").decode())
    wrong = [p for p, s in listed.items() if checksums.digest("md5", new.pieces(new.file(p))) != s]
    assert wrong == []


def test_the_same_changes_give_the_same_bytes(workshop: Workshop, base: Path) -> None:
    made = workshop.directory / "custom.iso"
    assert custom(workshop, base).returncode == 0
    first = made.read_bytes()
    made.unlink()
    assert custom(workshop, base).returncode == 0
    assert made.read_bytes() == first


def test_a_cd_that_cannot_be_copied_is_refused_before_any_work(
    workshop: Workshop, base: Path
) -> None:
    cut = workshop.directory / "cut.iso"
    cut.write_bytes(base.read_bytes()[:500_000])
    for path, message in (
        (cut, "truncated: the ISO 9660 volume ends at byte"),
        (workshop.directory / "none.iso", "none.iso: no such file"),
    ):
        done = custom(workshop, path)
        assert done.returncode == 1
        assert message in done.stdout
        assert "root begins" not in done.stdout
    done = custom(workshop, base, DIB_BASE_ISO="https://example.org/x.iso")
    assert "DIB_BASE_ISO: not a file of the build host: https://example.org/x.iso" in done.stdout
    done = custom(workshop, base, DIB_ISO_VOLUME_ID="x" * 33)
    assert "a volume id has at most 32 characters" in done.stdout
    assert not (workshop.directory / "custom.iso").exists()


def test_too_little_room_is_said_before_any_work(workshop: Workshop, base: Path) -> None:
    small = workshop.directory / "small"
    small.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", f'mount -t tmpfs -o size=1m none {small} && exec "$@"', "-",
         sys.executable, "-m", "imagebuilder", "build", "-n", "-t", "iso", "-o", f"{small}/custom",
         "debian-installer-iso"],
        cwd=workshop.directory, env=workshop.variables({"DIB_BASE_ISO": str(base)}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stdout
    assert f"{small}/custom.iso: no space for it: " in done.stdout
    assert "root begins" not in done.stdout


def test_a_cd_that_no_element_changes_is_copied(workshop: Workshop, base: Path) -> None:
    words = ("-n", "-t", "iso", "-o", "copy", "debian-installer-iso")
    assert (done := workshop.create(*words, DIB_BASE_ISO=str(base))).returncode == 0, done.stdout
    old, new = tree.load(probe(base)), tree.load(probe(workshop.directory / "copy.iso"))
    assert iso_diff.parts(old, new) == []


def test_a_cd_is_made_of_what_elements_put_on_it(workshop: Workshop) -> None:
    if not Path("/usr/lib/grub/i386-pc/cdboot.img").exists():
        pytest.skip("needs grub-pc-bin")
    workshop.element("medium", {"element-deps": "iso-medium\n", "media.d/50-medium": MEDIUM})
    words = ("-n", "-t", "iso", "-o", "new", "tiny", "medium")
    assert (done := workshop.create(*words)).returncode == 0, done.stdout
    made = workshop.directory / "new.iso"
    first, files = made.read_bytes(), tree.load(probe(made))
    assert files.iso.bootable
    assert files.iso.mbr == "GRUB"
    listed = checksums.listed(files.read("md5sum.txt").decode())
    assert {*listed} == {"boot/grub/grub.cfg", "passwd"}
    made.unlink()
    assert workshop.create(*words).returncode == 0
    assert made.read_bytes() == first


def test_a_cd_that_nothing_could_start_is_not_made(workshop: Workshop) -> None:
    done = workshop.create("-n", "-t", "iso", "-o", "new", "tiny")
    assert done.returncode == 1
    assert "nothing that could start was put on it" in done.stdout
    assert "live-iso makes them of the tree" in done.stdout
    assert not (workshop.directory / "new.iso").exists()


ROOT = "casper/minimal.squashfs"
TINY = Path(__file__).parents[1] / "elements/tiny/root.d/10-tiny"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CD with a small root filesystem, and what lies beside one."""
    place = tmp_path_factory.mktemp("live")
    root, casper = place / "root", place / "tree/casper"
    for directory in (root, casper):
        directory.mkdir(parents=True)
    subprocess.run([TINY], env={**os.environ, "TARGET_ROOT": str(root)}, check=True)
    (root / "etc/fstab").write_text("overlay / overlay rw 0 0\n")
    os.mknod(root / "dev/console", 0o020600, os.makedev(5, 1))
    like = squashfs.USUAL
    squashfs.pack(root, place / "tree" / ROOT, dataclasses.replace(like, compressor="lz4"), 1)
    for name in ("minimal.size", "minimal.manifest", "minimal.squashfs.gpg"):
        (casper / name).write_text("old\n")
    return ubuntu(place)


def rooted(workshop: Workshop, live: Path, **variables: str) -> Tree:
    """The CD after a build with phases in its root filesystem."""
    workshop.element("dpkg", {"element.yaml": "summary: nothing, since there is no dpkg\n"})
    workshop.element("branding", {
        "element-deps": "installer-iso\n",
        "install.d/50-branding": "cat /etc/fstab /etc/passwd >/etc/made\n",
        "static/usr/share/branding/page": "page\n",
    })  # fmt: skip
    words = ("-n", "-t", "iso", "-o", "custom", "branding")
    done = workshop.create(*words, DIB_BASE_ISO=f"file:{live}", **variables)
    assert done.returncode == 0, done.stdout
    return tree.load(probe(workshop.directory / "custom.iso"))


def test_phases_run_in_the_root_filesystem(workshop: Workshop, live: Path) -> None:
    files = rooted(workshop, live)
    inside = inner.image(files, ROOT)
    inodes = dict(inside.files())
    assert inside.made.compressor == "lz4"
    assert b"".join(inside.pieces(inodes["usr/share/branding/page"])) == b"page\n"
    assert b"root:x:0:0" in b"".join(inside.pieces(inodes["etc/made"]))
    assert b"".join(inside.pieces(inodes["etc/fstab"])) == b"overlay / overlay rw 0 0\n"
    assert inodes["dev/console"].rdev == (5, 1)
    assert int(files.read("casper/minimal.size")) > 10**6
    assert files.read("casper/minimal.manifest") == b""
    assert f"{ROOT}.gpg" not in files


@pytest.mark.skipif(find("gpg") is None, reason="needs gpg")
def test_a_root_filesystem_is_signed_again(workshop: Workshop, live: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="gpg."))  # gpg's sockets want a short path
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    make = [
        "--passphrase",
        "",
        "--quick-gen-key",
        "test@example.com",
        "default",
        "default",
        "never",
    ]
    subprocess.run([*gpg, *make], check=True)
    files = rooted(workshop, live, GNUPGHOME=str(home), DIB_ISO_KEY="test@example.com")
    for path in (ROOT, f"{ROOT}.gpg"):
        (home / Path(path).name).write_bytes(files.read(path))
    signature = home / "minimal.squashfs.gpg"
    subprocess.run([*gpg, "--verify", signature, home / "minimal.squashfs"], check=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(home)


def test_all_that_a_cd_lacks_is_said_before_any_work(workshop: Workshop, live: Path) -> None:
    given = {
        "DIB_BASE_ISO": str(live),
        "DIB_ISO_KEY": "nobody@example.org",
        "DIB_ISO_INITRD": "casper/initr",
    }
    words = ("-n", "-t", "iso", "-o", "custom", "proxmox-ve-iso")
    built = workshop.create(*words, **given)
    planned = workshop.imagebuilder("plan", *words, **given)
    assert (built.returncode, planned.returncode) == (1, 2)
    assert "root begins" not in built.stdout
    assert not list(workshop.directory.glob("custom.iso*"))
    for said in (built.stdout, planned.stderr):
        assert "3 things are in the way" in said
        assert "has no pve-base.squashfs (its volume id is 'OLD ID')" in said
        assert f"DIB_ISO_ROOT names one of its root filesystems: {ROOT}" in said
        assert "there is no secret key 'nobody@example.org'" in said
        assert "casper/initr is not in it" in said


def test_a_root_filesystem_has_to_be_chosen(workshop: Workshop, live: Path) -> None:
    path = workshop.directory / "other.squashfs"
    path.write_bytes(tree.load(probe(live)).read(ROOT))
    words = ("iso", "remaster", str(live), "-o", "two.iso", "--add", f"{path}:/casper/")
    assert workshop.imagebuilder(*words).returncode == 0
    done = workshop.create(
        "-n", "-t", "iso", "-o", "custom", "installer-iso", DIB_BASE_ISO="two.iso"
    )  # fmt: skip
    assert done.returncode == 1
    assert "two.iso: has several root filesystems" in done.stdout
    assert f"{ROOT}, casper/other.squashfs; proxmox-ve-iso" in done.stdout

"""Phases of elements run in the root filesystem of a live system, which is packed as it was."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.process import find
from imagebuilder.remaster import squashfs as story
from imagebuilder.squashfs import superblock

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(find(tool) is None, reason=f"needs {tool}")
        for tool in ("sqfs2tar", "tar2sqfs", "mksquashfs", "gpg")
    ),
]
STATUS = "Package: hello\nStatus: install ok installed\nVersion: 1.0\n"
ROOT = {
    "etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n",
    "etc/debian_version": "12\n",
    "etc/fstab": "overlay / overlay rw 0 0\n",
    "etc/resolv.conf": "nameserver 192.0.2.1\n",
    "var/lib/dpkg/status": STATUS,
}
TINY = Path(__file__).parents[1] / "elements/tiny/root.d/10-tiny"
CHANGE = "echo changed >/etc/changed\n[ -c /dev/null ]\n"
ELEMENT = {
    "element-deps": "squashfs-root\n",
    "install.d/50-change": CHANGE,
}


@pytest.fixture
def base(workshop: Workshop) -> Path:
    """A small root filesystem as a live system has it, with a device and an owner of its own."""
    tree = workshop.directory / "tree"
    tree.mkdir()
    subprocess.run([TINY], env={**os.environ, "TARGET_ROOT": str(tree)}, check=True)
    for name, text in ROOT.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    os.mknod(tree / "dev/null", 0o20666, os.makedev(1, 3))
    (tree / "etc/owned").touch()
    os.chown(tree / "etc/owned", 104, 4)
    image = workshop.directory / "filesystem.squashfs"
    words = ["mksquashfs", tree, image, "-comp", "xz", "-b", "65536", "-noappend", "-quiet"]
    subprocess.run([*words, "-no-progress"], check=True, capture_output=True)
    image.with_suffix(".manifest").touch()
    image.with_suffix(".size").touch()
    return image


def repacked(workshop: Workshop, base: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    workshop.element("change", ELEMENT)
    workshop.element("dpkg", {"bin/install-packages": "#!/bin/bash\nexit 0\n"})
    given = {"DIB_BASE_SQUASHFS": str(base), "DIB_OFFLINE": "1", **variables}
    return workshop.create("-n", "-t", "live-squashfs", "-o", "new", "change", **given)


def test_a_live_systems_root_is_changed_by_elements(workshop: Workshop, base: Path) -> None:
    before = base.read_bytes()
    done = repacked(workshop, base)
    assert done.returncode == 0, done.stdout
    new = workshop.directory / "new.squashfs"
    made, like = superblock.load(new), superblock.load(base)
    assert (made.compressor, made.block) == (like.compressor, like.block) == ("xz", 65536)
    files = story.listing(new).files
    assert (files["etc/owned"].uid, files["etc/owned"].gid) == (104, 4)
    assert files["dev/null"].rdev == (1, 3)
    assert b"".join(story.read(new, "etc/changed")) == b"changed\n"
    assert b"".join(story.read(new, "etc/fstab")).decode() == ROOT["etc/fstab"]
    assert b"".join(story.read(new, "etc/resolv.conf")).decode() == ROOT["etc/resolv.conf"]
    assert (workshop.directory / "new.manifest").read_text() == "hello\t1.0\n"
    assert int((workshop.directory / "new.size").read_text()) > 10**6
    assert base.read_bytes() == before


def test_a_signature_is_made_again_or_missed(workshop: Workshop, base: Path) -> None:
    base.with_name("filesystem.squashfs.gpg").touch()
    done = repacked(workshop, base)
    assert done.returncode == 1
    assert "is a signature, which will not be one" in done.stdout
    home = workshop.directory / "gnupg"
    home.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(home)}
    words = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "me@example.org"]
    subprocess.run([*words, "ed25519"], env=environment, check=True)
    done = repacked(workshop, base, DIB_SQUASHFS_KEY="me@example.org", GNUPGHOME=str(home))
    assert done.returncode == 0, done.stdout
    new = workshop.directory / "new.squashfs"
    verify = ["gpg", "--batch", "--quiet", "--verify", f"{new}.gpg", str(new)]
    subprocess.run(verify, env=environment, check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)

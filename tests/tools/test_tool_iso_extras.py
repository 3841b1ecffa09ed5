"""Answers and packages for installers' images: placed, listed, and told to the kernel."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.deb import package
from imagebuilder.initrd import load, newc, rootfs
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.iso import tree
from imagebuilder.iso.probe import probe
from imagebuilder.process import find
from tests.unit.deb.test_deb import CONTROL, made

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find("xorriso") is None, reason="needs xorriso"),
]
MENU = "default a\nlabel a\n  kernel /linux\n  append initrd=/initrd --- quiet\n"
ANSWERS = {
    "preseed.cfg": "d-i a/b string c\n",
    "ks.cfg": "lang C\nrootpw x\n",
    "user-data": "#cloud-config\nautoinstall: {version: 1, user-data: {users: [default]}}\n",
    "answer.toml": '[global]\nkeyboard = "de"\ncountry = "at"\nfqdn = "a.b"\nmailto = "a@b"\n'
    'timezone = "UTC"\nroot-password = "12345678"\n[network]\n[disk-setup]\n'
    'filesystem = "ext4"\ndisk-list = ["sda"]\n',
}
RELEASE = "Suite: test\nSHA256:\n 00 0 main/binary-amd64/Packages.gz\n"
OLD = CONTROL.replace("2.0-1", "1.0").replace("Depends", "Suggests")
NEW = CONTROL.replace("libc6 (>= 2.3), dpkg | apt (<< 1)", "base")


@pytest.fixture
def image(workshop: Workshop) -> Path:
    """An image with a menu, an initrd, a flat pool and an indexed one."""
    top = workshop.directory / "tree"
    initrd = Archive(entries=(Entry(name="init", mode=0o100755, content=b"#!/bin/sh\n"),))
    files = {
        "linux": b"MZ",
        "initrd": newc.write(initrd),
        "isolinux/isolinux.cfg": MENU.encode(),
        "auto-installer-capable": b"",
        "pve/hello_1.0_amd64.deb": package.write(made(OLD), 0),
        "dists/test/Release": RELEASE.encode(),
        "dists/test/main/binary-amd64/Packages.gz": gzip.compress(b"Package: base\nVersion: 1\n"),
    }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    words = ("xorriso", "-as", "mkisofs", "-r", "-o", workshop.directory / "a.iso", top)
    subprocess.run(words, check=True, capture_output=True)
    for name, text in ANSWERS.items():
        (workshop.directory / name).write_text(text)
    (workshop.directory / "hello.deb").write_bytes(package.write(made(NEW), 0))
    return workshop.directory / "a.iso"


def remastered(workshop: Workshop, *words: str) -> tree.Tree:
    given = ("iso", "remaster", "a.iso", "-o", "b.iso", "--allow-unbootable", *words)
    done = workshop.imagebuilder(*given)
    assert done.returncode == 0, done.stderr
    return tree.load(probe(workshop.directory / "b.iso"))


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("name", "argument", "where"),
    [
        ("preseed.cfg", "priority=critical", "initrd"),
        ("ks.cfg", "inst.ks=file:/ks.cfg", "initrd"),
        ("user-data", "ds=nocloud;s=/cdrom/nocloud/", "nocloud/user-data"),
        ("answer.toml", "proxmox-start-auto-installer", "auto-installer-mode.toml"),
    ],
)
def test_answers_are_placed_and_told(
    workshop: Workshop, name: str, argument: str, where: str
) -> None:
    files = remastered(workshop, "--answers", name)
    menu = files.read("isolinux/isolinux.cfg").decode()
    assert f"{argument} --- quiet" in menu
    if where == "initrd":
        root = rootfs.of(load.load(files.read("initrd"), "initrd"))
        assert root.files[name].content == ANSWERS[name].encode()
    else:
        assert where in files


@pytest.mark.usefixtures("image")
def test_a_recipe_adds_packages_to_a_flat_pool(workshop: Workshop) -> None:
    recipe = "deb: [hello.deb]\npool: pve\nanswers: preseed.cfg\nallow-missing: true\n"
    (workshop.directory / "recipe.yaml").write_text(recipe)
    files = remastered(workshop, "--recipe", "recipe.yaml")
    assert [path for path in files.nodes if path.startswith("pve/")] == [
        "pve/hello_2.0-1_amd64.deb"
    ]


@pytest.mark.usefixtures("image")
def test_the_lists_of_an_images_pool_are_renewed(workshop: Workshop) -> None:
    files = remastered(workshop, "--deb", "hello.deb")
    packages = files.read("dists/test/main/binary-amd64/Packages.gz")
    assert b"Filename: pool/main/h/hello/hello_2.0-1_amd64.deb" in gzip.decompress(packages)
    assert "pool/main/h/hello/hello_2.0-1_amd64.deb" in files
    assert hashlib.sha256(packages).hexdigest() in files.read("dists/test/Release").decode()


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--deb", "hello.deb", "--pool", "pve"), "hello needs base"),
        (("--deb", "hello.deb", "--pool", "nowhere"), "nowhere: has no package in it"),
        (("--deb", "ks.cfg"), "ks.cfg: not a Debian package (looks like text)"),
        (("--answers", "missing"), "missing: no such file"),
        (("--timeout", "1", "--answers-pre", "ks.cfg"), "hint: --answers FILE names it"),
        (("--timeout", "1", "--pool", "pve"), "no package is to be added to the pool"),
        (("--answers", "preseed.cfg", "--answers-pre", "ks.cfg"), "scripts can be merged into"),
    ],
)
def test_what_an_image_cannot_take_is_refused(
    workshop: Workshop, words: tuple[str, ...], said: str
) -> None:
    given = ("iso", "remaster", "a.iso", "-o", "b.iso", "--allow-unbootable", *words)
    done = workshop.imagebuilder(*given)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (workshop.directory / "b.iso").exists()


@pytest.mark.usefixtures("image")
def test_a_medium_that_takes_no_answers_is_named(workshop: Workshop) -> None:
    remastered(workshop, "--remove", "auto-installer-capable")
    given = ("iso", "remaster", "b.iso", "-o", "c.iso", "--allow-unbootable")
    done = workshop.imagebuilder(*given, "--answers", "answer.toml")
    assert done.returncode == 2
    assert "cannot take such answers: auto-installer-capable is not in it" in done.stderr

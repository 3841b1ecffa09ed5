"""An image that was built before, changed, and started: what is in it is new, its layout is not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import console
import pytest

from imagebuilder.disk.model import Table
from imagebuilder.existing import table
from imagebuilder.machine import seed
from imagebuilder.machine.errand import Errand
from imagebuilder.machine.model import Machine
from imagebuilder.process import run

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]
PASSWORD = "open sesame"  # ruff: ignore[hardcoded-password-string] - of a machine that is thrown away
SOURCES = ("OpenStack", "ConfigDrive", "Ec2", "NoCloud")
MODULE = {
    "dkms.conf": (
        'PACKAGE_NAME="tiny"\nPACKAGE_VERSION="1.0"\nBUILT_MODULE_NAME[0]="tiny"\n'
        'DEST_MODULE_LOCATION[0]="/updates"\nAUTOINSTALL="yes"\n'
    ),
    "Makefile": (
        "obj-m := tiny.o\n"
        "all:\n\t$(MAKE) -C /lib/modules/$(KERNELRELEASE)/build M=$(CURDIR) modules\n"
    ),
    "tiny.c": (
        "#include <linux/module.h>\nstatic int __init tiny_init(void) { return 0; }\n"
        "static void __exit tiny_exit(void) { }\nmodule_init(tiny_init);\n"
        'module_exit(tiny_exit);\nMODULE_LICENSE("GPL");\n'
    ),
}
POSTINST = "#!/bin/sh\nset -e\ndkms add tiny/1.0\n"
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend",
    "agent": "systemctl is-active qemu-guest-agent",
    "held": "apt-mark showhold",
    "kernel": "uname -r",
    "module": "modprobe tiny && grep -c ^tiny /proc/modules",
    "where": "modinfo -n tiny",
    "sources": "cat /etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg",
    "root": "findmnt -no UUID /",
    "grub": "grep -c -E 'linux.*root=(UUID|LABEL|PARTUUID)=' /boot/grub/grub.cfg",
    "loop": "grep -c /dev/loop /boot/grub/grub.cfg || true",
}


@pytest.fixture(scope="module")
def base(images: Workshop) -> Path:
    """A machine that somebody has made: EFI and BIOS, a GPT, and cloud-init."""
    done = images.create(
        "-o", "base", "--image-size", "3", "vm", "block-device-efi", "debian-minimal", "cloud-init",
        "cloud-init-datasources", DIB_RELEASE="bookworm", DIB_CLOUD_INIT_DATASOURCES="NoCloud",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return images.directory / "base.qcow2"


@pytest.fixture(scope="module")
def changed(images: Workshop, base: Path) -> Path:
    """The same with packages, a kernel that is held, a module, a password and other sources."""
    package = images.directory / "deb"
    for name, text in MODULE.items():
        file = package / "usr/src/tiny-1.0" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text(
        "Package: tiny-dkms\nVersion: 1.0\nArchitecture: all\nDepends: dkms\n"
        "Maintainer: A Test <test@example.org>\nDescription: a module that does nothing\n"
    )
    (package / "DEBIAN/postinst").write_text(POSTINST)
    (package / "DEBIAN/postinst").chmod(0o755)
    element = images.element(
        "tiny-dkms",
        {
            "element-deps": "dkms\n",
            "install.d/60-tiny-dkms": 'dpkg -i "$(dirname "$0")/../debs/tiny.deb"\nupdate-grub\n',
        },
    )
    (element / "debs").mkdir()
    deb = str(element / "debs/tiny.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(package), deb], check=True)
    kernel = kernel_of(base)
    before = digest(base)
    done = images.create(
        "-n", "-o", "changed", "existing-image", "kernel-version", "tiny-dkms", "root-password",
        "cloud-init-datasources", "-p", "qemu-guest-agent", "-x",
        DIB_BASE_IMAGE=str(base), DIB_KERNEL_VERSION=kernel, DIB_ROOT_PASSWORD=PASSWORD,
        DIB_CLOUD_INIT_DATASOURCES=", ".join(SOURCES),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert PASSWORD not in done.stdout
    assert digest(base) == before
    return images.directory / "changed.qcow2"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernel_of(image: Path) -> str:
    """The kernel of the image, by the manifest of its packages."""
    (manifest,) = (image.parent / "base.d/dib-manifests").glob("dib-manifest-dpkg-*")
    found = re.search(r"\blinux-image-(\d[\w.+-]+)", manifest.read_text())
    assert found
    return found[1]


def raw(image: Path) -> Path:
    target = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, target], check=True)
    return target


def test_all_but_the_root_filesystem_is_the_same_to_the_byte(base: Path, changed: Path) -> None:
    before, after = raw(base), raw(changed)
    try:
        found = table.load(before)
        assert table.load(after) == found
        root = max(found.areas, key=lambda area: area.offset)
        assert root.content
        assert root.content.type == "ext4"
        with before.open("rb") as one, after.open("rb") as other:
            for start, end in ((0, root.offset), (root.offset + root.size, found.size)):
                one.seek(start)
                other.seek(start)
                assert one.read(end - start) == other.read(end - start)
        command = ["e2fsck", "-fn", f"{after}?offset={int(root.offset)}"]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    finally:
        before.unlink()
        after.unlink()


def test_its_files_go_to_a_disk_of_another_layout(images: Workshop, base: Path) -> None:
    done = images.create(
        "-n", "-o", "other", "-t", "raw", "replace-partition", "dpkg", "block-device-mbr",
        DIB_LOCAL_IMAGE=str(base),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    other = images.directory / "other.raw"
    try:
        found = table.load(other)
        assert found.table is Table.MBR
        root = found.areas[0]
        command = ["debugfs", "-R", "cat /boot/grub/grub.cfg", f"{other}?offset={int(root.offset)}"]
        menu = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert kernel_of(base) in menu
        assert root.content
        assert root.content.uuid in menu
    finally:
        other.unlink()


def test_the_changed_image_starts_and_has_what_was_added(
    images: Workshop, base: Path, changed: Path
) -> None:
    script = "; ".join(f"echo '=={n}'; ( {question} ) 2>&1" for n, question in QUESTIONS.items())
    errand = Errand(script, "answers")
    seeded = images.directory / "seed.img"
    seed.make(seed.files({}, errand, "changed"), seeded, run)
    with console.started(Machine(image=changed, seed=seeded)) as machine:
        machine.await_("login: ")
        for _ in range(3):  # it says that it is finished so many times
            machine.await_(errand.finished.pattern)
        answers = re.split(r"==(\w+)\n", errand.output(machine.console.text))[1:]
        assert machine.ask_agent("guest-ping") == {}
        assert machine.ask_agent("guest-get-osinfo")["version-id"] == "12"
        log_in(machine)
    found = {name: text.strip() for name, text in zip(answers[::2], answers[1::2], strict=True)}
    assert (found["system"], found["failed"]) == ("running", "")
    assert found["agent"] == "active"
    kernel = kernel_of(base)
    assert found["kernel"] == kernel
    assert found["held"].split() == [f"linux-headers-{kernel}", f"linux-image-{kernel}"]
    assert found["module"] == "1"
    assert found["where"].startswith(f"/lib/modules/{kernel}/updates/")
    assert found["sources"] == f"datasource_list: [{', '.join((*SOURCES, 'None'))}]"
    assert int(found["grub"]) >= 1
    assert found["loop"] == "0"


def log_in(machine: console.Session) -> None:
    """As root, with the password; a wrong one has to be refused before."""
    machine.type("")  # asks getty for its prompt; login(1) would take it for a name without letters
    for password, answer in (("wrong", "Login incorrect"), (PASSWORD, r"root@\S+#")):
        machine.await_("login: $")
        machine.type("root")
        machine.await_("Password: ")
        machine.type(password)
        machine.await_(answer)
    machine.type("echo I am user $(id -u)")
    machine.await_(r"I am user 0\n")

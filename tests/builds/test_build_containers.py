"""Roots from containers, and CDs of kernels and ramdisks; programs are stand-ins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stand_ins import KERNELS, build, refused, stand_ins

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
RUNTIME = """\
#!/bin/bash
# Knows images that hold the directory beside this program.
echo "$*" >>"$(dirname "$0")/calls"
case "$1" in
    create) echo the-container ;;
    export) tar -C "$(dirname "$0")/root" -c . ;;
esac
"""


@pytest.fixture
def runtime(workshop: Workshop) -> Path:
    """The directory of a stand-in for podman and docker, and the tree that it exports."""
    directory = workshop.directory / "runtime"
    for name in ("root/usr/bin", "root/etc", "root/lib64", "root/tmp"):
        (directory / name).mkdir(parents=True)
    (directory / "root/etc/made-by").write_text("container\n")
    for name in ("podman", "docker"):
        (directory / name).write_text(RUNTIME)
        (directory / name).chmod(0o755)
    workshop.environment["PATH"] = f"{directory}:{os.environ['PATH']}"
    return directory


def contained(workshop: Workshop, *words: str, **variables: str) -> str:
    """The log of a build that has to succeed."""
    done = workshop.create("-n", "-t", "tar", "-o", "out", *words, **variables)
    assert done.returncode == 0, done.stdout
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert "./etc/made-by" in tar.getnames()
    return done.stdout


def test_a_containerfile_of_an_element_becomes_the_root(workshop: Workshop, runtime: Path) -> None:
    element = workshop.element("my-os", {
        "element-deps": "containerfile\n", "containerfiles/9": "FROM scratch\n",
        "environment.d/10-my-os": "export DISTRO_NAME=mine DIB_RELEASE=${DIB_RELEASE:-9}\n",
    })  # fmt: skip
    contained(workshop, "my-os", DIB_CONTAINERFILE_BUILDOPTS="--squash --pull")
    calls = (runtime / "calls").read_text().splitlines()
    image = calls[0].split()[4]
    context = f"{workshop.directory}/.cache/image-create/containerfile"
    assert calls == [
        f"build --network host -t {image} -f {element}/containerfiles/9 --squash --pull {context}",
        f"create {image} /bin/sh", "export the-container", "rm the-container", f"rmi {image}",
    ]  # fmt: skip
    done = workshop.create("-n", "my-os", DIB_RELEASE="8")
    assert done.returncode == 1
    assert "there is no Containerfile" in done.stdout
    assert "DIB_CONTAINERFILE_DOCKERFILE" in done.stdout


def test_a_docker_image_becomes_the_root(workshop: Workshop, runtime: Path) -> None:
    contained(workshop, "docker", DIB_DOCKER_IMAGE="registry.example/base:1")
    assert (runtime / "calls").read_text().splitlines() == [
        "create registry.example/base:1 /bin/sh", "export the-container", "rm the-container",
    ]  # fmt: skip


LOADERS = """\
cd $TARGET_ROOT
mkdir -p usr/lib/ISOLINUX usr/lib/syslinux/modules/bios usr/lib/shim usr/lib/grub/x86_64-efi-signed
head -c 40000 /dev/zero >usr/lib/ISOLINUX/isolinux.bin
echo ldlinux >usr/lib/syslinux/modules/bios/ldlinux.c32
echo shim >usr/lib/shim/shimx64.efi.signed
echo grub >usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
"""
ISO_TOOLS = ("xorriso", "mkfs.vfat", "mcopy", "mmd")


@pytest.mark.skipif(not all(map(shutil.which, ISO_TOOLS)), reason=f"needs {', '.join(ISO_TOOLS)}")
def test_an_iso_has_kernel_ramdisk_and_both_ways_to_start(
    workshop: Workshop, tmp_path: Path
) -> None:
    stand_ins(workshop, own=KERNELS + LOADERS)
    words = ("baremetal", "iso", "no-final-image")
    build(workshop, *words, DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="quiet")
    iso = workshop.directory / "out-boot.iso"
    first = hashlib.sha256(iso.read_bytes()).hexdigest()
    build(workshop, *words, DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="quiet")
    assert hashlib.sha256(iso.read_bytes()).hexdigest() == first

    def xorriso(*words: str) -> str:
        done = subprocess.run(["xorriso", "-indev", str(iso), *words],
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout

    report = xorriso("-report_el_torito", "plain", "-pvd_info")
    assert "BIOS" in report
    assert "UEFI" in report
    assert "VMEDIA_BOOT_ISO" in report
    xorriso("-osirrox", "on", "-extract", "/", str(tmp_path / "content"))
    content = tmp_path / "content"
    assert (content / "vmlinuz").read_text() == "vmlinuz 6.1.0-10-test\n"
    assert (content / "initrd").read_text() == "initrd.img 6.1.0-10-test\n"
    arguments = "root=LABEL=cloudimg-rootfs quiet"
    assert arguments in (content / "isolinux/isolinux.cfg").read_text()
    copy = ["mcopy", "-i", str(content / "efi.img"), "::/EFI/debian/grub.cfg", "-"]
    grub = subprocess.run(copy, capture_output=True, text=True, check=True).stdout
    assert f"linux /vmlinuz {arguments}" in grub
    assert "--label VMEDIA_BOOT_ISO" in grub


@pytest.mark.skipif(not all(map(shutil.which, ISO_TOOLS)), reason=f"needs {', '.join(ISO_TOOLS)}")
def test_an_iso_of_a_ramdisk_starts_with_its_own_arguments(
    workshop: Workshop, tmp_path: Path
) -> None:
    stand_ins(workshop, own=LOADERS)
    ramdisk = "echo kernel >$IMAGE_NAME.kernel; echo initramfs >$IMAGE_NAME.initramfs\n"
    workshop.element("my-ramdisk", {"cleanup.d/50-ramdisk": ramdisk})
    build(workshop, "iso", "my-ramdisk", DIB_DEPLOY_ISO_KERNEL_CMDLINE_ARGS="ipa-debug=1",
          DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="not-these")  # fmt: skip
    config = tmp_path / "isolinux.cfg"
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", "out.iso", "-extract", "/isolinux/isolinux.cfg",
         str(config)], cwd=workshop.directory, capture_output=True, check=True,
    )  # fmt: skip
    assert "APPEND initrd=/initrd boot_method=vmedia ipa-debug=1\n" in config.read_text()


def test_an_iso_without_a_kernel_is_refused(workshop: Workshop) -> None:
    if not all(map(shutil.which, ISO_TOOLS)):
        pytest.skip(f"needs {', '.join(ISO_TOOLS)}")
    stand_ins(workshop, own=LOADERS)
    assert "there is no kernel and ramdisk (hint: add baremetal" in refused(workshop, "iso")

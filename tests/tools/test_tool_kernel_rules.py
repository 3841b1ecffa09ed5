"""Which kernel and initramfs `select_boot_kernel_initrd` of `$_LIB/img-functions` takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import imagebuilder

FUNCTIONS = Path(imagebuilder.__file__).parent / "lib" / "img-functions"
SCRIPT = 'source "$1"; select_boot_kernel_initrd "$PWD"; echo "$KERNEL $RAMDISK"'
pytestmark = pytest.mark.tools
REDHAT = {"etc/redhat-release": "", "boot/vmlinuz-5.9": "", "boot/vmlinuz-5.14": "",
          "boot/vmlinuz-6.1+debug": "", "boot/initramfs-5.9.img": "", "boot/initramfs-5.14.img": "",
          "boot/initramfs-6.1+debug.img": ""}  # fmt: skip
DEBIAN = {"etc/debian_version": "", "boot/vmlinuz-6.9-cloud": "", "boot/initrd.img-6.9-cloud": ""}
GENERIC = {"boot/vmlinuz-6.1-generic": "", "boot/initrd.img-6.1-generic": ""}
SIGNED = {"boot/vmlinuz-6.1-generic.efi.signed": "",
          "dib-signed-kernel-version": "DIB_SIGNED_KERNEL_VERSION=6.1\n"}  # fmt: skip
LINKED = {"boot/vmlinuz-5.9-default": "", "boot/initrd-5.9-default": "",
          "boot/vmlinuz": "-> vmlinuz-5.9-default",
          "boot/initrd": "-> initrd-5.9-default"}  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "variables", "expected"),
    [
        (REDHAT, {}, "vmlinuz-5.14 initramfs-5.14.img"),
        (
            {**REDHAT, "boot/vmlinuz-5.9.PAE": "", "boot/initramfs-5.9.PAE.img": ""},
            {},
            "vmlinuz-5.9.PAE initramfs-5.9.PAE.img",
        ),
        (DEBIAN, {}, "vmlinuz-6.9-cloud initrd.img-6.9-cloud"),
        (DEBIAN | GENERIC, {}, "vmlinuz-6.1-generic initrd.img-6.1-generic"),
        (
            DEBIAN | GENERIC | SIGNED,
            {},
            "vmlinuz-6.1-generic.efi.signed initrd.img-6.1-generic",
        ),
        (
            DEBIAN | GENERIC,
            {"DIB_BAREMETAL_KERNEL_PATTERN": "vmlinuz*cloud", "DIB_BAREMETAL_INITRD_PATTERN": "i*"},
            "vmlinuz-6.9-cloud initrd.img-6.9-cloud",
        ),
        ({**LINKED, "etc/SuSE-release": ""}, {}, "vmlinuz-5.9-default initrd-5.9-default"),
        (LINKED, {"DISTRO_NAME": "opensuse"}, "vmlinuz-5.9-default initrd-5.9-default"),
        (
            {"etc/gentoo-release": "", "boot/vmlinuz-6.1": "", "boot/initramfs-6.1": ""},
            {},
            "vmlinuz-6.1 initramfs-6.1",
        ),
    ],
)
def test_each_family_has_its_rule(
    tmp_path: Path, tree: dict[str, str], variables: dict[str, str], expected: str
) -> None:
    for name, text in tree.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
    done = subprocess.run(
        ["bash", "-euc", SCRIPT, "-", str(FUNCTIONS)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{expected}\n", done.stderr

"""Debian's installer starts by network in three ways, and runs what its answers tell it.

Each machine gets its own configuration by its MAC address, with a file of ours in the initrd.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder import process
from imagebuilder.netboot import load, loaders, plan, publish, serve
from imagebuilder.netboot.plan import Job

if TYPE_CHECKING:
    from conftest import Packages

CODE, VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
QEMU = "qemu-system-x86_64"
INSTALLER = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
MAC = "52:54:00:12:34:56"
pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(not shutil.which(QEMU), reason=f"needs {QEMU}"),
]
SITE = """\
server: 10.0.2.2
http: http://10.0.2.2:{port}
console: ttyS0,115200n8
entries:
  installer:
    title: Debian's installer
    from: {{kernel: {images}/linux, initrd: {images}/initrd.gz}}
    arguments: ["machine={{name}}"]
hosts:
  - name: web
    mac: {mac}
    entry: installer
    files: [added:/opt/added, preseed.cfg:/]
"""
ANSWERS = """\
d-i preseed/early_command string (cat /opt/added; echo "STARTED WITH $(cat /proc/cmdline)"; \\
  echo o > /proc/sysrq-trigger) > /dev/console 2>&1; sleep 60
"""


@dataclass(frozen=True)
class Set:
    """A published set, which is served by HTTP too."""

    root: Path

    @property
    def tftp(self) -> Path:
        return self.root / publish.CURRENT


@pytest.fixture(scope="module")
def served(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    place = tmp_path_factory.mktemp("netboot")
    root = place / "root"
    (place / "added").write_text("ADDED TO THE INITRD\n")
    (place / "preseed.cfg").write_text(ANSWERS)
    for loader in loaders.LOADERS:
        packages.tree(loader.package)
    images = packages.tree(INSTALLER) / IMAGES
    with serve.by_http(root, "127.0.0.1", 0) as port:
        (place / "hosts.yaml").write_text(SITE.format(port=port, images=images, mac=MAC))
        site = load.load(place / "hosts.yaml")
        found = loaders.gathered(loaders.LOADERS, [packages.directory], process.run, fetch=False)
        job = Job(site=site, epoch=0, run=process.run)
        made = plan.with_loaders(plan.make(job, root / publish.CURRENT), found)
        publish.publish(made, root, keep=0)
        yield Set(root)


def said(tftp: Path, boot_file: str, device: str, *words: str) -> str:
    """What a machine that starts by network writes to its serial port until it is off."""
    command = [
        QEMU, "-nodefaults", "-m", "1024", "-display", "none", "-vga", "std", "-serial", "stdio",
        "-no-reboot", "-netdev", f"user,id=net,tftp={tftp},bootfile={boot_file}",
        "-device", f"{device},netdev=net,mac={MAC},bootindex=1", *words,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=400, check=True
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it is not off yet: {(error.stdout or b'')[-2000:].decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def check(output: str) -> None:
    line = next(line for line in output.splitlines() if "STARTED WITH" in line)
    assert "ADDED TO THE INITRD" in output
    assert "machine=web" in line
    assert "BOOTIF=01-52-54-00-12-34-56" in line


def test_pxelinux_starts_the_installer_by_bios(served: Set) -> None:
    check(said(served.tftp, "pxelinux.0", "e1000", "-machine", "pc"))


def test_ipxe_starts_the_installer_by_http(served: Set) -> None:
    check(said(served.tftp, "boot.ipxe", "virtio-net-pci", "-machine", "pc"))


def test_grub_starts_the_installer_by_uefi(served: Set, tmp_path: Path) -> None:
    if not CODE.exists():
        pytest.skip("needs OVMF")
    own = shutil.copy(VARIABLES, tmp_path / "variables.fd")
    check(said(
        served.tftp, "bootx64.efi", "virtio-net-pci", "-machine", "q35",
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={CODE}",
        "-drive", f"if=pflash,format=raw,unit=1,file={own}",
    ))  # fmt: skip

"""A Debian with root on LVM, xfs and btrfs beside it, thin volumes too: the kernel has the say."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from imagebuilder.filesystems import mounted

if TYPE_CHECKING:
    from conftest import Workshop

PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mkfs.xfs", "mkfs.btrfs", "thin_restore")
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [
    pytest.mark.boots,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
    pytest.mark.skipif(
        bool(mounted.obstacle("xfs") or mounted.obstacle("btrfs")), reason="needs xfs and btrfs"
    ),
]
DISK = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: BSP, type: EF02, size: 1MiB}
      - {name: p1, type: 8E00, size: 2100MiB}
      - {name: p2, type: 8E00, size: 800MiB}
- lvm:
    name: lvm
    pvs: [{name: pv1, base: p1}, {name: pv2, base: p2}]
    vgs: [{name: vg-one, base: [pv1, pv2], options: ["--force"]}]
    lvs:
      - {name: lv_root, base: vg-one, size: 1700MiB}
      - {name: lv_data, base: vg-one, size: 900MiB}
      - {name: pool, base: vg-one, type: thin-pool, extents: 100%FREE}
      - {name: thin1, base: vg-one, type: thin, thin-pool: pool, size: 200MiB}
      - {name: thin2, base: vg-one, type: thin, thin-pool: pool, size: 300MiB}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
- mkfs: {base: lv_data, type: xfs, label: data, mount: {mount_point: /srv/data, fstab: {}}}
- mkfs: {base: thin1, type: ext4, label: thin1, mount: {mount_point: /srv/thin1, fstab: {}}}
- mkfs: {base: thin2, type: btrfs, label: thin2, mount: {mount_point: /srv/thin2, fstab: {}}}
"""
FILL = """
for name in data thin1 thin2; do
    mkdir -p /srv/$name
    head -c 20000000 /dev/urandom >/srv/$name/file
    sha256sum /srv/$name/file >>/srv/sums
done
"""
# Units of all kinds: the presets as built have to name those that are disabled, and no others.
UNITS = r"""
cd /etc/systemd/system
printf '[Service]\nExecStart=true\n' | tee plain.service drop-in.service named.service >/dev/null
printf '[Install]\nWantedBy=multi-user.target\n' >>named.service
cp named.service 'escaped\x2dname.service'
cp named.service 'template@.service'
cp named.service on.service
mkdir drop-in.service.d
printf '[Install]\nWantedBy=multi-user.target\n' >drop-in.service.d/50-on.conf
ln -s named.service alias.service
ln -s /dev/null masked.service
systemctl enable on.service
"""
PRESETS = """
systemctl list-unit-files --state=disabled --no-legend --no-pager | sed 's/ .*//; s/^/disable /' |
    diff - /etc/systemd/system-preset/10-as-built.preset
grep -qx 'disable drop-in.service' /etc/systemd/system-preset/10-as-built.preset
"""
QUESTIONS = """
findmnt -no SOURCE,FSTYPE /; findmnt -no SOURCE,FSTYPE /srv/data
findmnt -no SOURCE,FSTYPE /srv/thin1; findmnt -no SOURCE,FSTYPE /srv/thin2
sha256sum -c /srv/sums; vgck vg-one && echo checked
lvcreate -qq -y -V 50M --thinpool pool -n more vg-one && mkfs.ext4 -q /dev/vg-one/more && echo made
"""


def test_the_kernel_starts_from_and_goes_on_with_volumes(images: Workshop) -> None:
    images.element("fill", {"install.d/60-fill": FILL})
    images.element("units", {"install.d/60-units": UNITS, "finalise.d/99-zz-presets": PRESETS})
    packages = "lvm2,thin-provisioning-tools,xfsprogs,btrfs-progs"
    done = images.create(
        "-o", "lvm", "-p", packages, "vm", "debian-minimal", "block-device-gpt", "cloud-init",
        "cloud-init-datasources", "fill", "units",
        DIB_BLOCK_DEVICE_CONFIG=DISK, DIB_CLOUD_INIT_DATASOURCES="NoCloud",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    script = "; ".join(QUESTIONS.split("\n")).strip("; ")
    booted = images.imagebuilder("boot", "lvm.qcow2", "--run", script)
    assert booted.returncode == 0, booted.stdout + booted.stderr
    said = [line.split(" | ", 1)[1].strip() for line in booted.stdout.splitlines() if " | " in line]
    text = "\n".join(re.sub(r"\s+", " ", line) for line in said)
    for line in (
        "/dev/mapper/vg--one-lv_root ext4",
        "/dev/mapper/vg--one-lv_data xfs",
        "/dev/mapper/vg--one-thin1 ext4",
        "/dev/mapper/vg--one-thin2 btrfs",
        "/srv/data/file: OK",
        "/srv/thin1/file: OK",
        "/srv/thin2/file: OK",
        "checked",
        "made",
    ):
        assert line in text, text

"""What debootstrap lends bookworm's mkinitramfs changes its speed and nothing else."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]
# With firmware that a module asks for, a module that is a symlink, and a directory that is one.
COMPARE = r"""
element=/tmp/in_target.d/debootstrap
functions=/usr/share/initramfs-tools/hook-functions
for name in manual_add_modules copy_file add_firmware; do
    sed -n "/^$name()/,/^}/p" $functions
done | sha256sum | { read -r digest _; grep -q "=$digest" $element/make-initramfs; } ||
    { echo "unknown functions"; exit 0; }

version=$(ls /lib/modules)
kernel=/lib/modules/$version/kernel
mkdir -p /lib/firmware/e100 /opt/modules
echo firmware > /lib/firmware/e100/d101m_ucode.bin
mv "$kernel/drivers/net/ethernet/intel/e1000/e1000.ko" /opt/modules/
ln -s /opt/modules/e1000.ko "$kernel/drivers/net/ethernet/intel/e1000/e1000.ko"
mv "$kernel/fs/xfs" "$kernel/fs/real-xfs"
ln -s real-xfs "$kernel/fs/xfs"
echo tg3 >> /etc/initramfs-tools/modules

mkinitramfs -o /tmp/original "$version"
cp $element/fast-modules /usr/share/initramfs-tools/conf-hooks.d/fast
mkinitramfs -o /tmp/fast "$version"
rm /usr/share/initramfs-tools/conf-hooks.d/fast
cmp /tmp/original /tmp/fast
lsinitramfs /tmp/fast | sed -n 's/.*\(d101m_ucode.bin\|\/e1000.ko\|\/tg3.ko\)$/has \1/p'
echo "the same with $(lsinitramfs /tmp/fast | grep -c '\.ko$') modules"
"""


def test_the_initramfs_is_the_same_as_without(workshop: Workshop) -> None:
    workshop.element("compare", {"install.d/50-compare": COMPARE, "element.yaml": ""})
    words = ("-n", "-t", "tar", "debian-minimal", "compare")
    done = workshop.create(*words, DIB_RELEASE="bookworm")
    assert done.returncode == 0, done.stdout[-3000:]
    if "unknown functions" in done.stdout:
        pytest.skip("the mirror has other initramfs-tools, which are used as they are")
    for name in ("d101m_ucode.bin", "/e1000.ko", "/tg3.ko"):
        assert f"has {name}" in done.stdout
    count = re.search(r"the same with (\d+) modules", done.stdout)
    assert count
    assert int(count[1]) > 500

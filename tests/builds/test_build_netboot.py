"""What a build makes is published for machines that start by network, by an element."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from imagebuilder.initrd import newc
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.netboot import loaders

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
MADE = """\
printf 'MZ kernel' > $IMAGE_NAME.kernel
cp made.initrd $IMAGE_NAME.initramfs
"""
HOSTS = """\
entries: {agent: {title: The agent}}
hosts: [{name: web, mac: "02:00:00:00:00:07", entry: agent, arguments: [own=1]}]
"""


def loader_files(workshop: Workshop) -> str:
    place = workshop.directory / "loaders"
    place.mkdir()
    for loader in loaders.LOADERS:
        (place / loader.file).write_bytes(b"")
    return str(place)


def test_a_ramdisk_is_published(workshop: Workshop) -> None:
    workshop.element("made", {"cleanup.d/99-made": MADE})
    (workshop.directory / "hosts.yaml").write_text(HOSTS)
    initrd = Archive(entries=(Entry(name="init", mode=0o100755),))
    (workshop.directory / "made.initrd").write_bytes(newc.write(initrd))
    root = workshop.directory / "root"
    done = workshop.create(
        "-n", "-t", "tar", "-o", "out", "tiny", "made", "netboot",
        DIB_NETBOOT_ROOT=str(root),
        DIB_NETBOOT_HOSTS=str(workshop.directory / "hosts.yaml"),
        DIB_NETBOOT_ENTRY="agent",
        DIB_NETBOOT_KERNEL_CMDLINE_ARGS="console=ttyS0 quiet",
        DIB_NETBOOT_LOADERS=loader_files(workshop),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    current = root / "current"
    assert (current / "entries/agent/kernel").read_bytes() == b"MZ kernel"
    assert "console=ttyS0 quiet\n" in (current / "pxelinux.cfg/default").read_text()
    own = (current / "pxelinux.cfg/01-02-00-00-00-00-07").read_text()
    assert "console=ttyS0 quiet own=1\n" in own


def test_a_build_says_where_it_is_to_be_published(workshop: Workshop) -> None:
    done = workshop.create("-n", "-t", "tar", "-o", "out", "tiny", "netboot")
    assert done.returncode == 1
    assert "DIB_NETBOOT_ROOT" in done.stdout

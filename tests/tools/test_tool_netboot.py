"""dnsmasq takes what is published, and machines of each firmware get their boot loader by DHCP."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.initrd import newc
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.netboot import loaders, publish, serve, source
from imagebuilder.netboot.model import Source
from imagebuilder.process import find

if TYPE_CHECKING:
    from conftest import Workshop

KERNEL = b"MZ" + bytes(0x200) + b"HdrS"
INITRD = newc.write(Archive(entries=(Entry(name="init", mode=0o100755),)))
SITE = """\
server: 10.9.0.1
http: http://10.9.0.1:8000
dhcp: {range: [10.9.0.100, 10.9.0.200], interface: server}
entries:
  agent:
    from: {kernel: kernel}
hosts:
  - {name: web, mac: 02:00:00:00:00:07, ip: 10.9.0.7, entry: agent}
"""
SERVE = """\
set -eu
ip link set lo up
ip link add server type veth peer name client
ip address add 10.9.0.1/24 dev server
ip link set client address 02:00:00:00:00:07
ip link set server up
ip link set client up
"$PYTHON" -m imagebuilder netboot serve "$1" > served 2>&1 &
server=$!
while ! grep -q 'DHCP, IP range' served; do
    kill -0 $server
    sleep 0.1
done
for option in 0x5d:0000 0x5d:0007 0x5d:0009 0xaf:01; do
    busybox udhcpc -f -q -n -i client -t 3 -T 1 -O bootfile -O tftp -x $option -s ./got 2>&1
done
kill $server
"""
GOT = '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $siaddr ${bootfile:-$boot_file}"\ntrue\n'


@pytest.fixture
def published(workshop: Workshop) -> Workshop:
    """A set with empty boot loaders."""
    place = workshop.directory
    (place / "kernel").write_bytes(KERNEL)
    (place / "hosts.yaml").write_text(SITE)
    (place / "loaders").mkdir()
    for loader in loaders.LOADERS:
        (place / "loaders" / loader.file).write_bytes(b"")
    words = ("netboot", "publish", "hosts.yaml", "-o", "root", "--loaders", "loaders", "--offline")
    done = workshop.imagebuilder(*words)
    assert done.returncode == 0, done.stderr
    return workshop


def test_what_machines_would_get_is_said(published: Workshop) -> None:
    words = ("--mac", "02:00:00:00:00:07", "--firmware", "bios")
    done = published.imagebuilder("netboot", "show", "root", *words)
    assert done.stdout.startswith("bios: web, gets 10.9.0.7\n  boot file: pxelinux.0\n")
    dry = published.imagebuilder("netboot", "serve", "root", "--dry-run").stdout
    assert "uefi: others: bootx64.efi, grub/grub.cfg\n" in dry
    assert "ipxe: web: boot.ipxe, ipxe/01-02-00-00-00-00-07.ipxe\n" in dry


def test_an_older_set_is_served_again(published: Workshop) -> None:
    root = published.directory / "root"
    first = publish.current(root)
    words = ("netboot", "publish", "hosts.yaml", "-o", "root", "--loaders", "loaders")
    published.imagebuilder(*words, "--offline", "--argument", "quiet")
    assert publish.current(root) != first
    assert published.imagebuilder("netboot", "use", "root", first.name).returncode == 0
    assert publish.current(root) == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("publish", "-o", "root"), "nothing to publish"),
        (("publish", "none.yaml", "-o", "root"), "none.yaml: cannot be read"),
        (("publish", "hosts.yaml", "-o", "root", "--keep", "-1"), "--keep: cannot be negative"),
        (("publish", "hosts.yaml", "-o", "root", "--loaders", "no"), "no: no such directory"),
        (("show", "nowhere"), "nowhere: holds no published set"),
        (("show", "root", "--mac", "12"), "not a MAC address: '12'"),
        (("show", "root", "--ip", "x"), "--ip: not an IPv4 address: 'x'"),
        (("serve", "root", "--http", "x"), "--http: not a port: 'x'"),
        (("serve", "root", "--no-dnsmasq"), "nothing to serve"),
        (("use", "root", "x"), "root: there is no set 'x'"),
    ],
)
def test_bad_words_are_refused(published: Workshop, words: tuple[str, ...], said: str) -> None:
    done = published.imagebuilder("netboot", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_set_is_served_by_http_and_a_new_one_at_once(published: Workshop) -> None:
    root = published.directory / "root"
    with serve.by_http(root, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/boot.ipxe"
        for data in (None, b'{"dmi": {}}'):  # GET, and POST as Proxmox asks
            with urllib.request.urlopen(url, data) as answer:
                assert answer.read().startswith(b"#!ipxe\n")
        (published.directory / "root/other").mkdir()
        (published.directory / "root/other/boot.ipxe").write_text("other")
        pathlib.Path(root / publish.CURRENT).unlink()
        (root / publish.CURRENT).symlink_to("other")
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"other"


@pytest.mark.skipif(not find("dnsmasq"), reason="needs dnsmasq")
def test_dnsmasq_takes_the_configuration(published: Workshop) -> None:
    command = serve.check(published.directory / "root")
    subprocess.run(command.argv, check=True, capture_output=True, env=command.environment())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
@pytest.mark.skipif(not find("dnsmasq") or not find("ip"), reason="needs dnsmasq and ip")
@pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox")
def test_dhcp_names_the_loader_for_each_firmware(published: Workshop) -> None:
    place = published.directory
    (place / "got").write_text(GOT)
    (place / "got").chmod(0o755)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # which dnsmasq's own user can read
        top = Path(name)
        top.chmod(0o755)
        words = ("publish", "hosts.yaml", "-o", f"{top}/root", "--loaders", "loaders", "--offline")
        assert published.imagebuilder("netboot", *words).returncode == 0
        done = subprocess.run(
            ["unshare", "--net", "bash", "-c", SERVE, "serve", f"{top}/root"],
            cwd=place,
            env={**published.variables({}), "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
    said = [line for line in done.stdout.splitlines() if line.startswith("10.9.0.7 ")]
    names = ("pxelinux.0", "bootx64.efi", "bootx64.efi", "boot.ipxe")
    assert said == [f"10.9.0.7 10.9.0.1 {name}" for name in names], (
        done.stdout + done.stderr + (place / "served").read_text()
    )


@pytest.mark.skipif(not find("xorriso"), reason="needs xorriso")
def test_an_iso_images_menus_say_what_is_started(workshop: Workshop) -> None:
    place = workshop.directory
    (place / "tree/isolinux").mkdir(parents=True)
    (place / "tree/kernel").write_bytes(KERNEL)
    (place / "tree/initrd").write_bytes(INITRD)
    menu = "label live\n  menu label Live\n  kernel /no\nlabel install\n  menu label Install\n"
    menu += "  kernel /kernel\n  append initrd=/initrd\n"
    (place / "tree/isolinux/isolinux.cfg").write_text(menu)
    words = ("xorriso", "-as", "mkisofs", "-r", "-o", place / "a.iso", place / "tree")
    subprocess.run(words, check=True, capture_output=True)
    parts = source.find(Source(where="x", iso=place / "a.iso", whole=True))
    assert (parts.kernel, parts.initrds) == (KERNEL, (INITRD,))
    assert parts.iso == place / "a.iso"
    with pytest.raises(ConfigError, match="no menu entry fits 'Rescue'"):
        source.find(Source(where="x", iso=place / "a.iso", menu="Rescue"))

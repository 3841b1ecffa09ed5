"""The files of a set: configurations of all loaders, what is in initrds, what kernels are told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from imagebuilder.errors import CommandError, ConfigError, SpaceError, ToolMissingError
from imagebuilder.initrd import load as initrds
from imagebuilder.initrd import newc, rootfs
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.netboot import grub, load, loaders, plan, publish, reply, source
from imagebuilder.netboot.loaders import Found
from imagebuilder.netboot.model import Content, Firmware, Set, Source
from imagebuilder.netboot.plan import Job
from imagebuilder.process import Command, Recorder, Result, find

KERNEL = b"MZ" + bytes(0x200) + b"HdrS"
INITRD = newc.write(
    Archive(
        entries=(
            Entry(name="usr", mode=0o40755),
            Entry(name="usr/bin", mode=0o40755),
            Entry(name="bin", mode=0o120777, content=b"usr/bin"),
            Entry(name="init", mode=0o100755, content=b"#!/bin/sh\n", ino=4),
        )
    )
)
FOUND = [Found(loader=each, place=each.places[0], content=b"x") for each in loaders.LOADERS]
SITE = """\
server: 10.0.0.1
default: agent
console: ttyS0,115200n8
entries:
  agent:
    title: It's an agent
    from: {ramdisk: agent}
    arguments: ["ds=a;b", "name={name}", ---, quiet]
hosts:
  - {name: web, mac: 52:54:00:ab:cd:ef, ip: 10.0.0.5, entry: agent, files: ["added:/bin/added"]}
  - {name: db, ip: 10.0.0.6, entry: agent, arguments: [db=1]}
  - {name: idle, mac: 52:54:00:ab:cd:00, entry: local}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "agent.kernel").write_bytes(KERNEL)
    (tmp_path / "agent.initramfs").write_bytes(INITRD)
    (tmp_path / "added").write_text("hello\n")
    (tmp_path / "preseed.cfg").write_text("d-i a/b string c\n")
    (tmp_path / "user-data").write_text(
        "#cloud-config\nautoinstall:\n  version: 1\n  user-data: {users: [default]}\n"
    )
    return tmp_path


def made(place: Path, text: str = SITE) -> Set:
    (place / "hosts.yaml").write_text(text)
    site = load.with_sources(load.load(place / "hosts.yaml"), [])
    job = Job(site=site, epoch=1, run=Recorder())
    return plan.with_loaders(plan.make(job, place / "root" / "current"), FOUND)


def texts(files: Mapping[str, Content], name: str) -> str:
    content = files[name]
    assert isinstance(content, bytes)
    return content.decode()


def test_pxelinux_gets_every_machine_by_mac_and_ip(place: Path) -> None:
    files = made(place).files
    default = texts(files, "pxelinux.cfg/default")
    assert "serial 0 115200\ndefault agent\nprompt 0\n" in default
    words = "console=ttyS0,115200n8 ds=a;b --- quiet"
    assert f"append initrd=entries/agent/initrd {words}\n  ipappend 2\n" in default
    web = texts(files, "pxelinux.cfg/01-52-54-00-ab-cd-ef")
    assert "initrd=entries/agent/initrd,hosts/web/files.cpio" in web
    assert "name=web --- quiet" in web
    assert texts(files, "pxelinux.cfg/0A000005") == web
    assert "name=db db=1" not in texts(files, "pxelinux.cfg/0A000006")
    assert "name=db --- quiet db=1" in texts(files, "pxelinux.cfg/0A000006")
    assert "localboot 0" in texts(files, "pxelinux.cfg/01-52-54-00-ab-cd-00")


def test_grub_finds_machines_even_where_it_does_not_look_for_them(place: Path) -> None:
    files = made(place).files
    default = texts(files, "grub/grub.cfg")
    assert 'if [ "$net_default_mac" = "52:54:00:ab:cd:ef" ]; then' in default
    assert 'if [ "$net_default_ip" = "10.0.0.6" ]; then' in default
    assert r"menuentry 'It'\''s an agent' --id agent {" in default
    web = texts(files, "grub/grub.cfg-01-52-54-00-ab-cd-ef")
    assert "linux /entries/agent/kernel BOOTIF=01-52-54-00-ab-cd-ef console=" in web
    assert "'ds=a;b'" in web
    assert "initrd /entries/agent/initrd /hosts/web/files.cpio" in web


def test_ipxe_loads_by_http_where_there_is_http(place: Path) -> None:
    web = texts(made(place).files, "ipxe/01-52-54-00-ab-cd-ef.ipxe")
    assert "kernel /entries/agent/kernel initrd=initrd0 initrd=initrd1 BOOTIF=" in web
    text = texts(made(place, "http: http://h/s\n" + SITE).files, "ipxe/default.ipxe")
    assert "initrd --name initrd0 http://h/s/entries/agent/initrd\nboot\n" in text


def test_menus_appear_where_there_is_a_timeout(place: Path) -> None:
    files = made(place, "timeout: 5\n" + SITE).files
    assert "ui menu.c32\ntimeout 50\n" in texts(files, "pxelinux.cfg/default")
    assert "set timeout=5\n" in texts(files, "grub/grub.cfg")
    assert "choose --timeout 5000 --default agent wanted" in texts(files, "ipxe/default.ipxe")
    files = made(place, "timeout: never\n" + SITE).files
    assert "timeout 0\n" in texts(files, "pxelinux.cfg/default")
    assert "set timeout=-1\n" in texts(files, "grub/grub.cfg")


def test_files_follow_the_symlinks_of_the_initrd_and_leave_it_as_it_is(place: Path) -> None:
    files = made(place).files
    both = [files["entries/agent/initrd"], files["hosts/web/files.cpio"]]
    assert isinstance(both[0], bytes)
    assert both[0].startswith(INITRD)
    root = rootfs.of(initrds.load(b"".join(bytes(each) for each in both), "both"))  # type: ignore[arg-type]
    assert root.files["usr/bin/added"].content == b"hello\n"
    assert root.files["bin"].target == "usr/bin"


def test_answers_go_into_the_initrd_or_are_served_by_http(place: Path) -> None:
    text = SITE.replace("entry: local", "entry: agent, answers: preseed.cfg")
    files = made(place, text).files
    assert b"preseed.cfg" in bytes(files["hosts/idle/files.cpio"])  # type: ignore[arg-type]
    files = made(place, "http: http://h/s\n" + text).files
    assert "hosts/idle/files.cpio" not in files
    assert files["hosts/idle/preseed.cfg"] == b"d-i a/b string c\n"
    off = texts(files, "pxelinux.cfg/01-52-54-00-ab-cd-00")
    assert "append initrd=entries/agent/initrd auto=true priority=critical " in off
    assert "preseed/url=http://h/s/hosts/idle/preseed.cfg" in off


def test_subiquity_needs_http(place: Path) -> None:
    text = SITE.replace("entry: local", "entry: agent, answers: user-data")
    with pytest.raises(ConfigError, match="autoinstall needs http"):
        made(place, text)
    files = made(place, "http: http://h\n" + text).files
    assert {"hosts/idle/user-data", "hosts/idle/meta-data"} <= set(files)
    assert "'ds=nocloud-net;s=http://h/hosts/idle/'" in texts(
        files, "grub/grub.cfg-01-52-54-00-ab-cd-00"
    )


BAD = [
    (SITE.replace("quiet]", "'{wrong}']"), "{wrong} stands for nothing here"),
    (SITE.replace("db=1", "'{mac}'"), "{mac} stands for nothing here"),
    (SITE.replace("quiet]", f"{'x' * 2048}]"), "longer than the 2047 characters"),
    (SITE.replace("added:/", "missing:/"), "hosts.yaml:10:5: no such file: "),
    (SITE.replace("added:/bin/added", "added:/init/x"), "init is a file in it"),
    (SITE.replace("ramdisk: agent", "ramdisk: other"), "there are neither"),
    (SITE.replace("ramdisk: agent", "kernel: missing"), "no such file"),
    (SITE.replace("ramdisk: agent", "kernel: agent.initramfs"), "is no kernel (looks like a cpio"),
    (SITE.replace("entry: local", "entry: agent, answers: added"), "is of no known kind"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_cannot_be_started_is_refused(place: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(place, text)
    assert said in str(caught.value)


def test_dnsmasq_hands_out_a_loader_for_each_firmware(place: Path) -> None:
    text = texts(made(place).files, "dnsmasq.conf")
    assert f"tftp-root={place}/root/current\n" in text
    assert "dhcp-boot=tag:!ipxe,tag:bios,pxelinux.0,,10.0.0.1\n" in text
    assert "dhcp-boot=tag:!ipxe,tag:uefi,bootx64.efi,,10.0.0.1\n" in text
    assert "dhcp-boot=tag:ipxe,boot.ipxe,,10.0.0.1\n" in text
    assert "dhcp-host=52:54:00:ab:cd:ef,10.0.0.5,web\n" in text
    proxy = texts(made(place, "dhcp: {proxy: 10.0.0.0}\n" + SITE).files, "dnsmasq.conf")
    assert "dhcp-range=10.0.0.0,proxy\n" in proxy
    assert "pxe-service=tag:!ipxe,x86PC,network,pxelinux.0,10.0.0.1\n" in proxy


def test_publishing_switches_a_symlink_and_keeps_older_sets(place: Path) -> None:
    root = place / "root"
    first = publish.publish(made(place), root, keep=1)
    assert (root / "current").resolve() == first.path
    assert not publish.publish(made(place), root, keep=1).new
    second = publish.publish(made(place, "timeout: 5\n" + SITE), root, keep=1)
    assert (root / "current").resolve() == second.path
    assert first.path.exists()
    third = publish.publish(made(place, "timeout: 6\n" + SITE), root, keep=1)
    assert third.pruned == (first.path.name,)
    publish.switch(root, second.path.name)
    assert (root / "current").resolve() == second.path
    with pytest.raises(ConfigError, match="there is no set 'other'"):
        publish.switch(root, "other")


def test_a_publisher_that_was_killed_leaves_nothing_for_long(place: Path) -> None:
    root = place / "root"
    (root / "sets" / ".new-abc").mkdir(parents=True)
    done = publish.publish(made(place), root, keep=0)
    assert [path.name for path in (root / "sets").iterdir()] == [done.path.name]


def test_nothing_is_switched_when_a_set_cannot_be_written(place: Path) -> None:
    root = place / "root"
    first = publish.publish(made(place), root, keep=1)
    wanted = made(place, "timeout: 5\n" + SITE)
    files = {**wanted.files, "entries/agent/kernel": place / "gone"}
    with pytest.raises(ConfigError, match="gone: cannot be read"):
        publish._written(Set(files=files, manifest=wanted.manifest), root)
    assert os.listdir(root / "sets") == [first.path.name]  # ruff: ignore[os-listdir]
    huge = place / "huge"
    huge.touch()
    os.truncate(huge, 2**43)
    with pytest.raises(SpaceError, match="the set takes 8 TiB"):
        publish.publish(Set(files={**wanted.files, "huge": huge}, manifest={}), root, keep=1)
    assert (root / "current").resolve() == first.path


@pytest.mark.parametrize(("name", "said"), [("file", "is not a directory"), ("a/b", "there is no")])
def test_a_root_that_cannot_be_is_refused(place: Path, name: str, said: str) -> None:
    (place / "file").touch()
    with pytest.raises(ConfigError, match=said):
        publish.check(place / name)


def test_a_directory_of_somebody_else_is_not_published_in(place: Path) -> None:
    (place / "root" / "current").mkdir(parents=True)
    with pytest.raises(ConfigError, match="current in it is no symlink"):
        publish.check(place / "root")


@pytest.mark.parametrize(
    ("firmware", "mac", "ip", "configuration", "host"),
    [
        (Firmware.BIOS, "52:54:00:ab:cd:ef", "", "pxelinux.cfg/01-52-54-00-ab-cd-ef", "web"),
        (Firmware.UEFI, "", "10.0.0.6", "grub/grub.cfg-0A000006", "db"),
        (Firmware.IPXE, "", "10.0.0.6", "ipxe/10.0.0.6.ipxe", "db"),
        (Firmware.IPXE, "52:54:00:ab:cd:01", "10.0.0.7", "ipxe/default.ipxe", ""),
    ],
)
def test_what_a_machine_gets_is_said(
    place: Path, firmware: Firmware, mac: str, ip: str, configuration: str, host: str
) -> None:
    directory = publish.publish(made(place), place / "root", keep=0).path
    found = reply.reply(directory, firmware, mac, IPv4Address(ip) if ip else None)
    assert (found.configuration, found.host) == (configuration, host)


def test_a_set_that_is_not_there_or_damaged_is_named(place: Path) -> None:
    with pytest.raises(ConfigError, match="holds no published set"):
        publish.current(place / "root")
    directory = publish.publish(made(place), place / "root", keep=0).path
    (directory / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match=r"manifest\.json: is damaged"):
        reply.reply(directory, Firmware.BIOS, "", None)


def test_a_loader_that_is_not_there_is_named(tmp_path: Path) -> None:
    row = loaders.Loader(
        file="x.0", program=loaders.Program.IPXE, package="no-such", places=("no/x.0",)
    )
    with pytest.raises(ToolMissingError, match=r"the boot loader x\.0 is not there"):
        loaders.gathered([row], [tmp_path], Recorder(), fetch=False)
    (tmp_path / "no-such/no").mkdir(parents=True)
    (tmp_path / "no-such/no/x.0").write_bytes(b"loader")
    (found,) = loaders.gathered([row], [tmp_path], Recorder(), fetch=False)
    assert found.content == b"loader"


@pytest.mark.skipif(not find("apt-get") or not find("dpkg-deb"), reason="needs apt and dpkg")
def test_a_package_that_cannot_be_fetched_is_named(tmp_path: Path) -> None:
    def run(command: Command) -> Result:
        raise CommandError("exit status 100\nE: Unable to locate package", where=str(command))

    row = loaders.Loader(
        file="x.0", program=loaders.Program.IPXE, package="no-such", places=("no/x.0",)
    )
    with pytest.raises(ToolMissingError, match="no-such cannot be fetched: E: Unable to locate"):
        loaders.gathered([row], [tmp_path], run, fetch=True)


def test_a_kernel_without_initrd_starts(place: Path) -> None:
    parts = source.find(Source(where="x", kernel=place / "agent.kernel"))
    assert parts.initrds == ()
    text = SITE.replace("ramdisk: agent", "kernel: agent.kernel").replace("bin/added", "added")
    web = texts(made(place, text).files, "grub/grub.cfg-01-52-54-00-ab-cd-ef")
    assert "initrd /hosts/web/files.cpio" in web


def test_an_initrd_of_another_kernel_is_refused(place: Path) -> None:
    header = bytearray(0x210) + b"6.1.0-9-amd64 (me)\0"
    header[0x202:0x206], header[0x20E:0x210] = b"HdrS", (0x10).to_bytes(2, "little")
    (place / "agent.kernel").write_bytes(header)
    directories = ("lib", "lib/modules", "lib/modules/6.1.0-10-amd64")
    entries = [Entry(name=name, mode=0o40755) for name in directories]
    entries.append(Entry(name="lib/modules/6.1.0-10-amd64/a.ko", mode=0o100644))
    (place / "agent.initramfs").write_bytes(newc.write(Archive(entries=tuple(entries))))
    said = "the kernel is 6.1.0-9-amd64, its initrd has modules of 6.1.0-10-amd64"
    with pytest.raises(ConfigError, match=said):
        made(place)


def test_words_are_quoted_for_grub() -> None:
    assert grub.quoted("a=b,c") == "a=b,c"
    assert grub.quoted("a;$b'c") == r"'a;$b'\''c'"

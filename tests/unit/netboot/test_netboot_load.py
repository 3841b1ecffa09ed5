"""hosts.yaml: every mistake is named with its line, and what is right becomes a site."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.netboot import load, plan, source
from imagebuilder.netboot.model import NEVER, Program, Site, Source
from imagebuilder.process import run

GOOD = """\
server: 10.0.0.1
http: http://10.0.0.1/
timeout: never
default: live
uefi: ipxe
dhcp: {range: [10.0.0.100, 10.0.0.200], interface: eth1}
entries:
  live:
    title: A live system
    from: {iso: live.iso, menu: "Live*", whole: true}
    arguments: ["fetch={iso}", quiet]
  agent:
    from: {ramdisk: out/agent}
hosts:
  - {name: web, mac: 52-54-00-AB-cd-EF, ip: 10.0.0.5, entry: agent, files: ["web/:/"]}
  - {name: small, mac: 52:54:00:12:34:56, entry: local}
"""


def site(directory: Path, text: str) -> Site:
    path = directory / "hosts.yaml"
    path.write_text(text)
    return load.load(path)


def test_a_site_is_read(tmp_path: Path) -> None:
    made = site(tmp_path, GOOD)
    assert made.http == "http://10.0.0.1"
    assert (made.timeout, made.uefi, made.default) == (NEVER, Program.IPXE, "live")
    live, agent = made.entries
    assert live.source
    assert live.source.iso == tmp_path / "live.iso"
    assert agent.source
    assert agent.source.ramdisk == tmp_path / "out/agent"
    web, small = made.hosts
    assert (web.mac, web.ip) == ("52:54:00:ab:cd:ef", IPv4Address("10.0.0.5"))
    assert web.own.files[0].source == tmp_path / "web"
    assert small.mac == "52:54:00:12:34:56"  # which YAML reads as a number
    assert made.dhcp
    assert made.dhcp.last == IPv4Address("10.0.0.200")


ENTRY = "entries: {a: {from: {ramdisk: x}}}\n"
BAD = [
    ("hosts: []\n", ":1:1: 'entries' is a required property"),
    ("entries: {}\n", ":1:10: in 'entries'"),
    (ENTRY + "hostss: []\n", ":2:1: unknown key 'hostss'"),
    ("entries: {a/b: {}}\n", "'a/b' does not match"),
    ("entries: {'1': {}}\n", "names of entries begin with a letter"),
    (
        ENTRY + "hosts: [{name: x, entry: local, ip: 1.1.1.1, answers: y}]\n",
        ":2:9: the machine 'x' starts from its own disk",
    ),
    ("entries: {local: {}}\n", ":1:11: 'local' is the machine's own disk"),
    ("entries: {a: {from: {}}}\n", ":1:21: needs one of iso, ramdisk, kernel"),
    ("entries: {a: {from: {iso: x, kernel: y}}}\n", "needs one of iso, ramdisk, kernel"),
    ("entries: {a: {from: {iso: x, initrd: y}}}\n", "initrd goes with kernel, not with iso"),
    ("entries: {a: {from: {kernel: x, whole: true}}}\n", "menu and whole go with iso"),
    ("entries: {a: {arguments: [a b]}}\n", ":1:27: is not one argument: 'a b'"),
    ("entries: {a: {arguments: ['${x}']}}\n", "iPXE would not take this argument as it is"),
    ("entries: {a: {files: [x]}}\n", "in 'entries.a.files.0'"),
    (ENTRY + "default: b\n", ":2:10: there is no entry 'b'"),
    (ENTRY + "timeout: -1\n", ":2:10: in 'timeout'"),
    (ENTRY + "bios: grub\n", ":2:7: in 'bios'"),
    (ENTRY + "http: ftp://x\n", ":2:7: in 'http'"),
    (ENTRY + "hosts: [{name: x, entry: a}]\n", ":2:9: the machine 'x' has neither mac nor ip"),
    (ENTRY + "hosts: [{name: x, entry: b, ip: 1.1.1.1}]\n", ":2:26: there is no entry 'b'"),
    (ENTRY + "hosts: [{name: x, entry: a, mac: 5254}]\n", ":2:34: not a MAC address: '01:27:34'"),
    (ENTRY + "hosts: [{name: x, entry: a, ip: 300.1.1.1}]\n", "not an IPv4 address: '300.1.1.1'"),
    (
        ENTRY + "hosts:\n- {name: x, entry: a, ip: 1.1.1.1}\n- {name: y, entry: a, ip: 1.1.1.1}\n",
        ":4:27: ip 1.1.1.1 is that of 'x' already",
    ),
    (ENTRY + "dhcp: {}\n", ":2:7: in 'dhcp': needs one of range and proxy"),
    (ENTRY + "dhcp: {range: [10.0.0.9, 10.0.0.1]}\n", "10.0.0.1 is before 10.0.0.9"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    for name in ("x.kernel", "x.initramfs"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "hosts.yaml"))
    assert said in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = "entries: {a: {from: {}}}\ndefault: b\nhosts: [{name: x, entry: c, mac: y}]\n"
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, text)
    said = str(caught.value)
    assert said.startswith("4 things are in the way:\n- ")
    for mistake in (
        ":1:21: needs one of", ":2:10: there is no entry 'b'", ":3:26: there is no entry",
        ":3:34: not a MAC address: 'y'",
    ):  # fmt: skip
        assert mistake in said
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, "entries: {a: {from: {iso: x}, titel: A}}\nhttp: ftp://x\n")
    for mistake in (":1:31: in 'entries.a': unknown key 'titel'", ":2:7: in 'http'"):
        assert mistake in str(caught.value)


def test_two_sources_of_one_name_are_refused() -> None:
    blank = Site(where="--from", entries=())
    with pytest.raises(ConfigError, match="the entry 'a' has a source already"):
        load.with_sources(blank, ["x/a.iso", "y/a.iso"])


def test_an_entry_without_a_source_needs_one_from_the_command_line(tmp_path: Path) -> None:
    made = site(tmp_path, "entries: {a: {title: A}}\n")
    with pytest.raises(ConfigError, match="the entry 'a' has no kernel"):
        load.with_sources(made, [])
    (entry,) = load.with_sources(made, ["a=k,i,j"], ["quiet"]).entries
    assert (entry.title, entry.own.arguments) == ("A", ("quiet",))
    assert entry.source
    assert (entry.source.kernel, entry.source.initrds) == (Path("k"), (Path("i"), Path("j")))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("out/agent", "agent"),
        ("a/My OS.iso", "My-OS"),
        ("/boot/vmlinuz,/boot/initrd", "vmlinuz"),
        ("a/7", "entry-7"),
    ],
)
def test_a_source_alone_is_an_entry_and_the_default(text: str, name: str) -> None:
    made = load.with_sources(Site(where="--from", entries=()), [text])
    assert (made.entries[0].name, made.default) == (name, name)


def test_missing_sources_are_named_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").touch()
    text = """\
default: typo
entries:
  a: {from: {iso: gone.iso}}
  b: {from: {ramdisk: none}}
  c: {from: {kernel: vmlinuz, initrd: [lost, away]}, answers: ks.cfg, files: ["f:/f"]}
"""
    with pytest.raises(ConfigError) as told:
        site(tmp_path, text)
    lines = [":1:10: ", ":3:13: no such file: ", ":4:13: there are neither "]
    lines += [f": no such file: {tmp_path}/{name}" for name in ("lost", "away", "ks.cfg", "f")]
    for line in lines:
        assert line in str(told.value)
    right = site(tmp_path, text.replace("typo", "a"))  # --from may name others
    assert right.default == "a"
    job = plan.Job(site=right, epoch=0, run=run)
    with pytest.raises(ConfigError, match=r"^6 things are in the way"):
        plan.make(job, tmp_path)


@pytest.mark.parametrize("kind", ["iso", "kernel", "initrd", "ramdisk"])
def test_nobody_waits_for_a_source_that_is_a_pipe(tmp_path: Path, kind: str) -> None:
    for name in ("x.kernel", "x.initramfs", "plain"):
        (tmp_path / name).touch()
    odd = tmp_path / ("x.initramfs" if kind == "ramdisk" else "odd")
    odd.unlink(missing_ok=True)
    os.mkfifo(odd)
    plain = tmp_path / "plain"
    made = {
        "iso": Source(where="here", iso=odd),
        "kernel": Source(where="here", kernel=odd),
        "initrd": Source(where="here", kernel=plain, initrds=(plain, odd)),
        "ramdisk": Source(where="here", ramdisk=tmp_path / "x"),
    }
    with pytest.raises(ConfigError, match="here: it is a pipe, not a file: ") as told:
        source.find(made[kind])
    assert str(odd) in str(told.value)

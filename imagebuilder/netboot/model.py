"""What machines are to start by network, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path

from imagebuilder.initrd.source import Wish

LOCAL = "local"  # the entry that starts from the machine's own disk
NEVER = -1  # the timeout that never ends
Content = bytes | Path  # what a file of a set is, or where it is copied from


class Program(Enum):
    """The boot loaders that there are configurations for."""

    PXELINUX = "pxelinux"
    GRUB = "grub"
    IPXE = "ipxe"


class Firmware(Enum):
    """What asks for a boot loader; an iPXE that runs already asks for a script."""

    BIOS = "bios"
    UEFI = "uefi"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where kernel and initrds come from: an ISO image, a ramdisk's name, or files.

    Of an ISO image it is the menu entry that fits `menu`, or the first that has a kernel; `whole`
    serves the image too.
    """

    where: str
    iso: Path | None = None
    menu: str = ""
    whole: bool = False
    ramdisk: Path | None = None
    kernel: Path | None = None
    initrds: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What an entry or a machine gets besides: arguments, files in the initrd, answers."""

    arguments: tuple[str, ...] = ()
    files: tuple[Wish, ...] = ()
    answers: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something to start; without a source it is yet to be given one."""

    name: str
    where: str
    title: str
    source: Source | None
    own: Additions


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine, known by its MAC address (lower case, with colons), its IPv4 address, or both."""

    name: str
    where: str
    entry: str
    mac: str = ""
    ip: IPv4Address | None = None
    own: Additions


@dataclass(frozen=True, slots=True, kw_only=True)
class Dhcp:
    """What dnsmasq does about addresses: hand out a range, or assist a server that does."""

    interface: str = ""
    first: IPv4Address | None = None
    last: IPv4Address | None = None
    proxy: IPv4Address | None = None
    lease: str = "1h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All that is to be started; `default` is the entry for machines that are not listed.

    `server` is the TFTP server's address, `http` the URL of the set. Menus wait `timeout` seconds.
    """

    where: str
    entries: tuple[Entry, ...]
    hosts: tuple[Host, ...] = ()
    default: str = LOCAL
    timeout: int = 0
    server: str = ""
    http: str = ""
    console: str = ""
    bios: Program = Program.PXELINUX
    uefi: Program = Program.GRUB
    dhcp: Dhcp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One thing that a boot loader can start; without a kernel, the machine's own disk."""

    name: str
    title: str
    kernel: str = ""
    initrds: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """What one configuration offers; `mac` is that of the machine that it is for, if it is."""

    starts: tuple[Start, ...]
    default: str
    timeout: int = 0
    console: str = ""
    mac: str = ""

    @property
    def asks(self) -> bool:
        """Whether it is shown, and waits for somebody to choose."""
        return self.timeout != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """The files of a set by path, and what describes them in `manifest.json`."""

    files: Mapping[str, Content]
    manifest: Mapping[str, object]


def dashed(mac: str) -> str:
    """The address as configurations of one machine are named: ARP's type of Ethernet first."""
    return f"01-{mac.replace(':', '-')}"


def hexadecimal(ip: IPv4Address) -> str:
    """The address as pxelinux and GRUB look for it."""
    return f"{int(ip):08X}"

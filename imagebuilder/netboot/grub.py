"""Configurations of GRUB, as it looks for them by network (GRUB manual, "Network").

Where its build does not look for those of one machine by itself, `grub.cfg` leads to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from imagebuilder.netboot.model import NEVER, Host, Menu, Start, dashed, hexadecimal

DIRECTORY = "grub"
DEFAULT = f"{DIRECTORY}/grub.cfg"
BESIDE = "grub.cfg"  # what GRUB of Red Hat and SUSE looks for: beside itself
PLAIN = re.compile(r"[A-Za-z0-9_./:,=@%+-]+")


def names(mac: str, ip: IPv4Address | None) -> tuple[str, ...]:
    """The configurations that GRUB looks for, in its order."""
    own = [f"{DEFAULT}-{dashed(mac)}"] if mac else []
    parts = [hexadecimal(ip)[:length] for length in range(8, 0, -1)] if ip else []
    return (*own, *(f"{DEFAULT}-{part}" for part in parts), DEFAULT)


def text(menu: Menu, hosts: Sequence[Host] = ()) -> str:
    """The configuration for a menu; before it, the ways to those of `hosts`."""
    starts = [line for start in menu.starts for line in _start(start, menu)]
    return "\n".join((*_ways(hosts), *_head(menu), *starts, ""))


def beside() -> str:
    """The configuration for those that look for no other."""
    return f"configfile /{DEFAULT}\n"


def quoted(word: str) -> str:
    """A word as GRUB's shell takes it."""
    return word if PLAIN.fullmatch(word) else "'" + word.replace("'", r"'\''") + "'"


def _ways(hosts: Sequence[Host]) -> Iterator[str]:
    for host in hosts:
        if host.mac:
            yield f'if [ "$net_default_mac" = "{host.mac}" ]; then'
            yield f"  configfile /{DEFAULT}-{dashed(host.mac)}"
            yield "fi"
        elif host.ip:
            yield f'if [ "$net_default_ip" = "{host.ip}" ]; then'
            yield f"  configfile /{DEFAULT}-{hexadecimal(host.ip)}"
            yield "fi"


def _head(menu: Menu) -> Iterator[str]:
    if menu.console:
        port, _, speed = menu.console.removeprefix("ttyS").partition(",")
        yield f"serial --unit={port} --speed={speed.removesuffix('n8') or 9600}"
        yield "terminal_input serial console"
        yield "terminal_output serial console"
    yield f"set default={menu.default}"
    yield f"set timeout={-1 if menu.timeout == NEVER else menu.timeout}"


def _start(start: Start, menu: Menu) -> Iterator[str]:
    yield ""
    yield f"menuentry {quoted(start.title)} --id {start.name} {{"
    if start.kernel:
        bootif = (f"BOOTIF={dashed(menu.mac)}",) if menu.mac else ()
        words = [quoted(word) for word in (*bootif, *start.arguments)]
        yield f"  linux {' '.join((f'/{start.kernel}', *words))}"
        if start.initrds:
            yield f"  initrd {' '.join(f'/{path}' for path in start.initrds)}"
    else:
        yield "  exit 1"
    yield "}"

"""Configurations of pxelinux (Syslinux, "PXELINUX" and "Config")."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from imagebuilder.netboot.model import NEVER, Menu, Start, dashed, hexadecimal

DIRECTORY = "pxelinux.cfg"
DEFAULT = f"{DIRECTORY}/default"


def names(mac: str, ip: IPv4Address | None) -> tuple[str, ...]:
    """The configurations that pxelinux looks for, in its order, but for the machine's UUID."""
    own = [f"{DIRECTORY}/{dashed(mac)}"] if mac else []
    parts = [hexadecimal(ip)[:length] for length in range(8, 0, -1)] if ip else []
    return (*own, *(f"{DIRECTORY}/{part}" for part in parts), DEFAULT)


def text(menu: Menu) -> str:
    """The configuration for a menu."""
    return "\n".join((*_head(menu), *(line for s in menu.starts for line in _start(s)), ""))


def _head(menu: Menu) -> Iterator[str]:
    if menu.console:
        port, _, speed = menu.console.removeprefix("ttyS").partition(",")
        yield f"serial {port} {speed.removesuffix('n8') or 9600}"
    yield f"default {menu.default}"
    if menu.asks:
        yield "ui menu.c32"
        yield f"timeout {0 if menu.timeout == NEVER else menu.timeout * 10}"
    else:
        yield "prompt 0"


def _start(start: Start) -> Iterator[str]:
    yield ""
    yield f"label {start.name}"
    yield f"  menu label {start.title}"
    if not start.kernel:
        yield "  localboot 0"
        return
    yield f"  kernel {start.kernel}"
    initrds = [f"initrd={','.join(start.initrds)}"] if start.initrds else []
    yield f"  append {' '.join((*initrds, *start.arguments))}".rstrip()
    yield "  ipappend 2"

"""Scripts for iPXE (its manual, "Scripting").

The first script looks for the machine's own, and does not go on to the default if that one fails:
a machine must not start what was meant for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from imagebuilder.netboot.model import NEVER, Menu, Start, dashed

FIRST = "boot.ipxe"
DIRECTORY = "ipxe"
DEFAULT = f"{DIRECTORY}/default.ipxe"
MAGIC = "#!ipxe"
BOOTIF = "BOOTIF=01-${netX/mac:hexhyp}"


def names(mac: str, ip: IPv4Address | None) -> tuple[str, ...]:
    """The scripts that the first one looks for, in its order."""
    own = [f"{DIRECTORY}/{dashed(mac)}.ipxe"] if mac else []
    return (*own, *([f"{DIRECTORY}/{ip}.ipxe"] if ip else []), DEFAULT)


def first() -> str:
    """The script that all machines get."""
    own = (f"{DIRECTORY}/01-${{netX/mac:hexhyp}}.ipxe", f"{DIRECTORY}/${{netX/ip}}.ipxe", DEFAULT)
    return "\n".join((
        MAGIC,
        " || ".join(f"imgfetch --name script {name}" for name in own),
        "imgexec script",
        "",
    ))


def text(menu: Menu, base: str) -> str:
    """The script for a menu; `base` is the URL of the set, empty where the script came from."""
    starts = [line for start in menu.starts for line in _start(start, base)]
    return "\n".join((MAGIC, *_choice(menu), *starts, ""))


def _choice(menu: Menu) -> Iterator[str]:
    if not menu.asks:
        yield f"goto {menu.default}"
        return
    yield "menu"
    for start in menu.starts:
        yield f"item {start.name} {start.title}"
    timeout = "" if menu.timeout == NEVER else f"--timeout {menu.timeout * 1000} "
    yield f"choose {timeout}--default {menu.default} wanted && goto ${{wanted}}"


def _start(start: Start, base: str) -> Iterator[str]:
    yield ""
    yield f":{start.name}"
    if not start.kernel:
        yield "exit 0"
        return
    named = [f"initrd=initrd{number}" for number in range(len(start.initrds))]
    yield " ".join(("kernel", f"{base}/{start.kernel}", *named, BOOTIF, *start.arguments))
    for number, path in enumerate(start.initrds):
        yield f"initrd --name initrd{number} {base}/{path}"
    yield "boot"

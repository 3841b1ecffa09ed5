"""What a machine would get from a published set: which loader, which configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.netboot import grub, ipxe, publish, pxelinux
from imagebuilder.netboot.model import Firmware

Looked = Callable[[str, IPv4Address | None], tuple[str, ...]]
READERS: Mapping[str, Looked] = {
    "pxelinux.0": pxelinux.names,
    "bootx64.efi": grub.names,
    "undionly.kpxe": ipxe.names,
    "ipxe.efi": ipxe.names,
    ipxe.FIRST: ipxe.names,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The `boot_file` that DHCP names, and the configuration that is found then.

    `host` is the machine that it is for, empty if it is the one for all others. `looked` are the
    names that were looked for in vain.
    """

    boot_file: str
    configuration: str
    text: str
    host: str
    ip: str
    looked: tuple[str, ...]


def reply(directory: Path, firmware: Firmware, mac: str, ip: IPv4Address | None) -> Reply:
    """What the set in `directory` gives a machine; raise ConfigError if it is damaged."""
    manifest = publish.manifest(directory)
    host = _host(manifest, mac, ip)
    address = IPv4Address(host["ip"]) if host.get("ip") else ip
    boot_file = _boot_file(manifest, firmware, directory)
    looked = READERS[boot_file](mac, address)
    found = next((name for name in looked if (directory / name).is_file()), "")
    if not found:
        raise ConfigError("has no configuration for it", where=str(directory))
    return Reply(
        boot_file=boot_file,
        configuration=found,
        text=(directory / found).read_text(),
        host=host.get("host", ""),
        ip=str(address or ""),
        looked=looked[: looked.index(found)],
    )


def _boot_file(manifest: Mapping[str, object], firmware: Firmware, directory: Path) -> str:
    files = manifest.get("boot-files")
    name = files.get(firmware.value) if isinstance(files, dict) else None
    if name not in READERS:
        raise ConfigError("is damaged", where=str(directory / publish.MANIFEST))
    return str(name)


def _host(manifest: Mapping[str, object], mac: str, ip: IPv4Address | None) -> dict[str, str]:
    """The machine of that MAC address, or else of that IP address."""
    hosts = manifest.get("hosts")
    rows: list[dict[str, str]] = hosts if isinstance(hosts, list) else []
    by_mac = [row for row in rows if mac and row.get("mac") == mac]
    by_ip = [row for row in rows if ip and row.get("ip") == str(ip)]
    return next(iter((*by_mac, *by_ip)), {})

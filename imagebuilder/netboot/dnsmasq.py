"""dnsmasq's part: who gets which boot loader, by DHCP, and the set by TFTP (dnsmasq(8))."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from imagebuilder.netboot import ipxe
from imagebuilder.netboot.model import Dhcp, Firmware, Program, Site

CONFIGURATION = "dnsmasq.conf"
BOOT_FILES: Mapping[tuple[Firmware, Program], str] = {
    (Firmware.BIOS, Program.PXELINUX): "pxelinux.0",
    (Firmware.BIOS, Program.IPXE): "undionly.kpxe",
    (Firmware.UEFI, Program.GRUB): "bootx64.efi",
    (Firmware.UEFI, Program.IPXE): "ipxe.efi",
    (Firmware.IPXE, Program.IPXE): ipxe.FIRST,
}
SERVICES = {Firmware.BIOS: ("x86PC",), Firmware.UEFI: ("X86-64_EFI", "BC_EFI")}
CLIENTS = {Firmware.BIOS: (0,), Firmware.UEFI: (7, 9)}  # RFC 4578 2.1


def program(site: Site, firmware: Firmware) -> Program:
    """The boot loader that such firmware gets."""
    return {Firmware.BIOS: site.bios, Firmware.UEFI: site.uefi}.get(firmware, Program.IPXE)


def boot_files(site: Site) -> dict[Firmware, str]:
    """The file that DHCP names, by what asks."""
    return {each: BOOT_FILES[each, program(site, each)] for each in Firmware}


def text(site: Site, root: Path) -> str:
    """The configuration for a site whose set is at `root`."""
    proxy = site.dhcp is not None and site.dhcp.proxy is not None
    lines = ["port=0", "enable-tftp", f"tftp-root={root}", "dhcp-match=set:ipxe,175"]
    files = boot_files(site)
    lines += _services(site, files) if proxy else _boots(site, files)
    lines += _addresses(site.dhcp) if site.dhcp else []
    lines += [
        f"dhcp-host={host.mac},{f'{host.ip},' if host.ip else ''}{host.name}"
        for host in site.hosts
        if host.mac
    ]
    return "\n".join((*lines, ""))


def _boots(site: Site, files: Mapping[Firmware, str]) -> Iterator[str]:
    server = f",,{site.server}" if site.server else ""
    for firmware, numbers in CLIENTS.items():
        for number in numbers:
            yield f"dhcp-match=set:{firmware.value},option:client-arch,{number}"
    yield f"dhcp-boot=tag:ipxe,{files[Firmware.IPXE]}{server}"
    for firmware in CLIENTS:
        yield f"dhcp-boot=tag:!ipxe,tag:{firmware.value},{files[firmware]}{server}"


def _services(site: Site, files: Mapping[Firmware, str]) -> Iterator[str]:
    server = f",{site.server}" if site.server else ""
    for firmware, services in SERVICES.items():
        for service in services:
            yield f"pxe-service=tag:!ipxe,{service},network,{files[firmware]}{server}"
            yield f"pxe-service=tag:ipxe,{service},network,{files[Firmware.IPXE]}{server}"


def _addresses(dhcp: Dhcp) -> Iterator[str]:
    if dhcp.interface:
        yield f"interface={dhcp.interface}"
        yield "bind-dynamic"
    if dhcp.proxy:
        yield f"dhcp-range={dhcp.proxy},proxy"
    else:
        yield f"dhcp-range={dhcp.first},{dhcp.last},{dhcp.lease}"

"""The rows for what machines start from by network, and for what serves it."""

from __future__ import annotations

from imagebuilder.tools.model import Tool, for_networks, named

EFI = ("fedora", "redhat", "centos", "rocky", "almalinux")

FOR_NETWORKS = (
    for_networks(
        "pxelinux.0",
        named("pxelinux", "syslinux-tftpboot", "syslinux"),
        ("/usr/lib/PXELINUX/pxelinux.0", "/tftpboot/pxelinux.0", "/usr/share/syslinux/pxelinux.0"),
    ),
    for_networks(
        "ldlinux.c32",
        named("syslinux-common", "syslinux-tftpboot", "syslinux"),
        (
            "/usr/lib/syslinux/modules/bios/ldlinux.c32",
            "/tftpboot/ldlinux.c32",
            "/usr/share/syslinux/ldlinux.c32",
        ),
    ),
    for_networks(
        "shimx64.efi",
        named("shim-signed", "shim-x64", "shim"),
        (
            "/usr/lib/shim/shimx64.efi.signed",
            "/usr/lib/shim/shimx64.efi.signed.latest",
            *(f"/boot/efi/EFI/{name}/shimx64.efi" for name in EFI),
            "/usr/share/efi/x86_64/shim.efi",
        ),
    ),
    for_networks(
        "grubnetx64.efi",
        named("grub-efi-amd64-signed", "grub2-efi-x64", "grub2-x86_64-efi"),
        (
            "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
            *(f"/boot/efi/EFI/{name}/grubx64.efi" for name in EFI),
            "/usr/share/efi/x86_64/grub.efi",
            "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi",
        ),
    ),
    for_networks(
        "undionly.kpxe",
        named("ipxe", "ipxe-bootimgs-x86", "ipxe-bootimgs"),
        ("/usr/lib/ipxe/undionly.kpxe", "/usr/share/ipxe/undionly.kpxe"),
    ),
    Tool(
        name="dnsmasq",
        features=("netboot", "test"),
        purpose="serves sets for networks",
        packages=named("dnsmasq-base", "dnsmasq"),
    ),
)

"""Where distributions keep the UEFI firmware for virtual machines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from imagebuilder.errors import ToolMissingError
from imagebuilder.machine.model import Firmware, Rom

X86, ARM = "x86_64", "aarch64"


def _rom(directory: str, code: str, variables: str) -> Rom:
    return Rom(code=Path(directory, code), variables=Path(directory, variables))


ROMS: Mapping[tuple[str, Firmware], tuple[Rom, ...]] = {
    (X86, Firmware.UEFI): (
        _rom("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
        _rom("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
        _rom("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
        _rom("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
        _rom("/usr/share/edk2-ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
        _rom("/usr/share/qemu", "ovmf-x86_64-4m-code.bin", "ovmf-x86_64-4m-vars.bin"),
        _rom("/usr/share/qemu", "ovmf-x86_64-code.bin", "ovmf-x86_64-vars.bin"),
    ),
    (X86, Firmware.SECURE_BOOT): (
        _rom("/usr/share/OVMF", "OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"),
        _rom("/usr/share/OVMF", "OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
        _rom("/usr/share/edk2/ovmf", "OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"),
        _rom("/usr/share/edk2-ovmf", "OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"),
        _rom("/usr/share/qemu", "ovmf-x86_64-smm-ms-code.bin", "ovmf-x86_64-smm-ms-vars.bin"),
    ),
    (ARM, Firmware.UEFI): (
        _rom("/usr/share/AAVMF", "AAVMF_CODE.no-secboot.fd", "AAVMF_VARS.fd"),
        _rom("/usr/share/AAVMF", "AAVMF_CODE.fd", "AAVMF_VARS.fd"),
        _rom("/usr/share/edk2/aarch64", "QEMU_EFI-pflash.raw", "vars-template-pflash.raw"),
        _rom("/usr/share/qemu", "aavmf-aarch64-code.bin", "aavmf-aarch64-vars.bin"),
    ),
}
PACKAGES = {X86: "ovmf", ARM: "qemu-efi-aarch64"}


def find(architecture: str, firmware: Firmware, *, root: Path = Path("/")) -> Rom:
    """The first firmware below `root` that is there whole; raise ToolMissingError if none is."""
    for rom in ROMS[architecture, firmware]:
        code, variables = (root / path.relative_to("/") for path in (rom.code, rom.variables))
        if code.exists() and variables.exists():
            return Rom(code=code, variables=variables)
    raise ToolMissingError(
        f"there is no firmware to start {architecture} by {firmware.value}",
        where=str(ROMS[architecture, firmware][0].code),
        hint=f"install the package '{PACKAGES[architecture]}' (Debian's name), "
        "or run 'imagebuilder doctor --install --for boot'",
    )


def own(rom: Rom, variables: Path) -> Rom:
    """The same firmware with its variables in a file of the machine's own, made if need be."""
    if not variables.exists():
        shutil.copyfile(rom.variables, variables)
    return Rom(code=rom.code, variables=variables)

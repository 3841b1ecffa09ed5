"""GRUB for UEFI: the files of the EFI system partition.

The firmware starts `EFI/BOOT/BOOTX64.EFI` of a disk it has not seen before. With Secure Boot
that has to be the signed shim, which starts the signed GRUB beside it, which reads a grub.cfg
from the directory that its distribution built into it. The same files in that directory are
where a later grub-install in the machine expects and renews them.

Packages of Red Hat's family bring those files in their places on the ESP. They stay as they are,
and only get what the firmware would miss, and the grub.cfg.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import paths
from imagebuilder.boot.grub_home import LIBRARY, Home, Image, furnish, make_image
from imagebuilder.disk.model import Disk
from imagebuilder.process import Runner

ESP = "/boot/efi"
SHIM = "/usr/lib/shim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of machine: GRUB's name for it, how the UEFI spells it, who brings its GRUB."""

    name: str
    machine: str
    package: str
    package2: str  # of Red Hat's family


TARGETS = (
    Target(
        name="x86_64-efi", machine="x64", package="grub-efi-amd64-bin", package2="grub2-efi-x64"
    ),
    Target(
        name="arm64-efi", machine="aa64", package="grub-efi-arm64-bin", package2="grub2-efi-aa64"
    ),
)


def has_esp(disk: Disk) -> bool:
    """Whether the disk has an EFI system partition where GRUB's packages expect it."""
    return any(fs.type == "vfat" and fs.mount_point == ESP for fs in disk.mounted)


def install(tree: Path, home: Home, inside: Runner) -> bool:
    """Put every GRUB for UEFI that the tree has on its ESP; say whether there is one."""
    targets = [target for target in TARGETS if _has(tree, target)]
    for target in targets:
        for path, content in _files(tree, target, home, inside).items():
            paths.write_in(tree, f"{ESP}/EFI/{path}", content)
        if _has_modules(tree, target):
            furnish(tree, home.names, target.name)
    return bool(targets)


def layout(target: Target, vendor: str, loaders: Mapping[str, bytes]) -> dict[str, bytes]:
    """Which loader goes where below EFI/; the first of them is what the firmware starts."""
    first, *others = loaders
    files = {f"{vendor}/{name}": content for name, content in loaders.items()}
    files[f"BOOT/BOOT{target.machine.upper()}.EFI"] = loaders[first]
    return files | {f"BOOT/{name}": loaders[name] for name in others}


def vendor_of(image: bytes) -> str:
    """The directory below EFI/ that a GRUB reads its grub.cfg from; empty if it has none."""
    found = re.search(rb"\0/EFI/([A-Za-z0-9._-]+)\0", image)
    return found[1].decode() if found else ""


def _files(tree: Path, target: Target, home: Home, inside: Runner) -> dict[str, bytes]:
    loaders = _signed(tree, target)
    grub = f"grub{target.machine}.efi"
    script = home.script + "configfile $prefix/grub.cfg\n"
    if brought := _brought(tree, target):
        added = _added(tree, target, brought)
        return {**added, f"{brought}/grub.cfg": script.encode()}
    vendor = vendor_of(loaders.get(grub, b"")) or _distribution(tree)
    if not loaders:
        image = Image(
            target=target.name,
            prefix=f"/EFI/{vendor}",
            modules=(*home.modules, "fat", "normal", "configfile"),
        )
        loaders = {grub: make_image(tree, home.names, image, inside)}
    return layout(target, vendor, loaders) | {f"{vendor}/grub.cfg": script.encode()}


def _signed(tree: Path, target: Target) -> dict[str, bytes]:
    """The signed loaders, shim first; nothing unless both shim and GRUB are there."""
    shim, grub, keys = (f"{name}{target.machine}.efi" for name in ("shim", "grub", "mm"))
    sources = {
        shim: (f"{SHIM}/{shim}.signed", f"{SHIM}/{shim}.signed.latest"),
        grub: (f"{LIBRARY}/{target.name}-signed/{grub}.signed",),
        keys: (f"{SHIM}/{keys}.signed", f"{SHIM}/{keys}"),
    }
    found = {
        name: paths.read_in(tree, path)
        for name, candidates in sources.items()
        for path in [path for path in candidates if paths.exists_in(tree, path)][:1]
    }
    return found if {shim, grub} <= {*found} else {}


def _brought(tree: Path, target: Target) -> str:
    """The directory below EFI/ that packages have put a GRUB into; empty if none has."""
    names = sorted({*paths.names_in(tree, f"{ESP}/EFI")} - {"BOOT"})
    grub = f"grub{target.machine}.efi"
    return next((name for name in names if paths.exists_in(tree, f"{ESP}/EFI/{name}/{grub}")), "")


def _added(tree: Path, target: Target, vendor: str) -> dict[str, bytes]:
    """What EFI/BOOT lacks of what packages have brought: shim, and what it starts next.

    Shim starts the fallback program beside it, which finds the vendor's directory by itself.
    """
    machine = target.machine
    there = {
        name: paths.read_in(tree, f"{ESP}/EFI/{vendor}/{name}{machine}.efi")
        for name in ("shim", "grub", "mm")
        if paths.exists_in(tree, f"{ESP}/EFI/{vendor}/{name}{machine}.efi")
    }
    loaders = {f"{name}{machine}.efi": content for name, content in there.items()}
    wanted = {k: v for k, v in layout(target, vendor, loaders).items() if k.startswith("BOOT/")}
    if paths.exists_in(tree, f"{ESP}/EFI/BOOT/fb{machine}.efi"):
        wanted = {k: v for k, v in wanted.items() if k.endswith(f"BOOT{machine.upper()}.EFI")}
    return {k: v for k, v in wanted.items() if not paths.exists_in(tree, f"{ESP}/EFI/{k}")}


def _has(tree: Path, target: Target) -> bool:
    return _has_modules(tree, target) or bool(_signed(tree, target) or _brought(tree, target))


def _has_modules(tree: Path, target: Target) -> bool:
    return paths.exists_in(tree, f"{LIBRARY}/{target.name}/moddep.lst")


def _distribution(tree: Path) -> str:
    """The ID in os-release(5), or what that page says it is by default."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if paths.exists_in(tree, path):
            text = paths.read_in(tree, path).decode(errors="replace")
            found = re.search(r"""^ID=["']?([a-z0-9._-]+)["']?$""", text, re.MULTILINE)
            return found[1] if found else "linux"
    return "linux"

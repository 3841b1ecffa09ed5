"""The CDs of three installers, of real parts: kernels, loaders, and whole systems.

What the distributions do not publish as packages is a stand-in that has the names, places and order
of theirs: init of Proxmox' initrd and its installer, and the installer on Ubuntu's CD.
"""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import iso_layouts

from imagebuilder.initrd import newc
from imagebuilder.initrd.model import Archive, Entry
from imagebuilder.initrd.source import Wish
from imagebuilder.remaster import initrd, squashfs
from imagebuilder.remaster.output import Target

PARTS = Path(__file__).parent / "installer_cds"
FAST = dataclasses.replace(squashfs.USUAL, options=("level=1",))
EPOCH = 1_700_000_000
ID = "2b1c9a5e-7d0f-4a55-9f3c-0d6d1a5a8f10"
CD_INFO = "PRODUCT=PVE\nPRODUCTLONG='Proxmox VE'\nRELEASE=6.4\nISORELEASE=1\nISONAME=proxmox-ve\n"
DRIVERS = (
    *("ata_piix", "ahci", "xhci_pci", "uhci_hcd", "ehci_pci", "usb_storage", "sr_mod", "sd_mod"),
    *("isofs", "nls_utf8", "loop", "squashfs", "overlay"),
)
APPLETS = ("sh", "cat", "chroot", "mkdir", "modprobe", "mount", "seq", "sleep", "umount")
LAYERS = ("ubuntu-server-minimal", "ubuntu-server", "installer", "generic")
LOADERS = {
    "bootx64.efi": "usr/lib/shim/shimx64.efi.signed",
    "grubx64.efi": "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed",
    "mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
}


def proxmox(place: Path, system: Path, kernel: Path, busybox: Path) -> Path:
    """Proxmox VE's CD, of the tree of a Debian system, which loses its kernel, and that kernel."""
    top = place / "proxmox"
    (top / "boot/grub").mkdir(parents=True)
    shutil.copy(kernel, top / "boot/linux26")
    shutil.copy(PARTS / "proxmox/grub.cfg", top / "boot/grub")
    identity = {".cd-info": CD_INFO, ".pve-cd-id.txt": f"{ID}\n"}
    for name, text in {**identity, "EULA": "EULA\n", "Release.txt": "6.4-1\n"}.items():
        (top / name).write_text(text)
    for name in (".base", ".installer", ".installer-mp", ".workdir", "proxmox/packages"):
        (top / name).mkdir(parents=True)
    archive = Archive(entries=_initrd(system / "usr/lib/modules", busybox, identity))
    (top / "boot/initrd.img").write_bytes(gzip.compress(newc.write(archive), 1))
    package(top / "proxmox/packages", "pve-manager", {"usr/share/pve-manager/motd": "Proxmox VE\n"})
    shutil.rmtree(system / "usr/lib/modules")
    squashfs.pack(PARTS / "proxmox/installer", top / "pve-installer.squashfs", FAST, EPOCH)
    squashfs.pack(system, top / "pve-base.squashfs", FAST, EPOCH)
    return iso_layouts.proxmox(place / "proxmox.iso", top, "PVE")


def package(directory: Path, name: str, files: Mapping[str, str]) -> Path:
    """A Debian package of some files, version 1.0."""
    tree = directory / name
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: A Test <a@b.org>\n"
    for path, text in {"DEBIAN/control": f"{control}Description: {name}\n", **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(0o755 if text.startswith("#!") else 0o644)
    made = directory / f"{name}_1.0_all.deb"
    words = ["dpkg-deb", "--root-owner-group", "--build", tree, made]
    subprocess.run(words, check=True, capture_output=True)
    shutil.rmtree(tree)
    return made


def _initrd(kernels: Path, busybox: Path, texts: Mapping[str, str]) -> tuple[Entry, ...]:
    """Proxmox' initrd: busybox, drivers, and an init that looks for the CD."""
    (modules,) = kernels.iterdir()
    home = f"lib/modules/{modules.name}"
    rows = (modules / "modules.dep").read_text().splitlines()
    needs = {path: needed.split() for path, _, needed in (row.partition(":") for row in rows)}
    paths = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    first = [paths[name] for name in DRIVERS if name in paths]
    wanted = sorted({*first, *(needed for path in first for needed in needs[path])})
    dep = "".join(f"{path}: {' '.join(needs[path])}\n" for path in wanted)
    files = {"bin/busybox": busybox.read_bytes(), "init": (PARTS / "proxmox/init").read_bytes()}
    files |= {name: text.encode() for name, text in texts.items()}
    files |= {f"{home}/{path}": (modules / path).read_bytes() for path in wanted}
    files[f"{home}/modules.dep"] = dep.encode()
    places = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    return (
        *(Entry(name=n, mode=0o40755) for n in sorted(places | {"dev", "mnt", "proc", "sys"})),
        *(Entry(name=name, mode=0o100755, content=content) for name, content in files.items()),
        *(Entry(name=f"bin/{name}", mode=0o120777, content=b"busybox") for name in APPLETS),
    )


def ubuntu(place: Path, system: Path, kernel: Path, ramdisk: Path) -> Path:
    """Ubuntu Server's CD, of a tree with casper and signed loaders, which loses its kernel."""
    top = place / "ubuntu"
    for name in ("casper", "boot/grub", ".disk", "EFI/boot"):
        (top / name).mkdir(parents=True)
    shutil.copy(kernel, top / "casper/vmlinuz")
    configured = {
        "conf.d/default-layer.conf": f"LAYERFS_PATH={'.'.join(LAYERS)}.squashfs\n",
        "conf.d/default-boot-to-casper.conf": "BOOT=casper\n",
        "uuid.conf": f"{ID}\n",
    }
    (place / "conf.d").mkdir()
    for name, text in configured.items():
        (place / name).write_text(text)
    wishes = tuple(Wish(source=place / name, path=f"conf/{name}") for name in configured)
    initrd.rewrite(ramdisk, Target(path=top / "casper/initrd"), initrd.Changes(add=wishes))
    shutil.copy(PARTS / "ubuntu/grub.cfg", top / "boot/grub")
    (top / ".disk/info").write_text('Ubuntu-Server 26.04.1 LTS "Resolute Raccoon" - Release\n')
    (top / ".disk/casper-uuid-generic").write_text(f"{ID}\n")
    found = {name: system / path for name, path in LOADERS.items()}
    loaders = [Path(shutil.copy(path, top / "EFI/boot" / name)) for name, path in found.items()]
    esp = iso_layouts.esp(place / "efi.img", loaders, "8M")
    _layers(place / "layers", system, top / "casper")
    iso_layouts.grub_image(top)
    iso_layouts.sums(top)
    return iso_layouts.ubuntu(place / "ubuntu.iso", top, esp, "Ubuntu-Server 26.04.1 LTS amd64")


def _layers(place: Path, system: Path, casper: Path) -> None:
    """The stack of root filesystems: the system, packages, the installer, its kernel's modules."""
    trees = {LAYERS[0]: system, **{name: place / name for name in LAYERS[1:]}}
    status = place / "ubuntu-server/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    shutil.copy(system / "var/lib/dpkg/status", status)
    shutil.copytree(PARTS / "ubuntu/installer", place / "installer", symlinks=True)
    (place / "generic/usr/lib").mkdir(parents=True)
    shutil.move(system / "usr/lib/modules", place / "generic/usr/lib")
    shutil.rmtree(system / "boot")
    (system / "boot").mkdir()
    for number, (name, tree) in enumerate(trees.items(), 1):
        stem = casper / ".".join(LAYERS[:number])
        squashfs.pack(tree, Path(f"{stem}.squashfs"), FAST, EPOCH)
        for suffix, text in {"size": "1\n", "manifest": "", "squashfs.gpg": name}.items():
            Path(f"{stem}.{suffix}").write_text(text)


def debian(place: Path, images: Path, loaders: Path) -> Path:
    """Debian's CD, of the installer's kernel and initrd, and a tree with signed loaders."""
    top = place / "debian"
    for name in ("install.amd", "boot/grub", ".disk", "pool/main"):
        (top / name).mkdir(parents=True)
    shutil.copy(images / "linux", top / "install.amd/vmlinuz")
    shutil.copy(images / "initrd.gz", top / "install.amd")
    (top / ".disk/info").write_text("Debian GNU/Linux 12 - Unofficial amd64 NETINST\n")
    shutil.copy(PARTS / "debian/grub.cfg", top / "boot/grub")
    isolinux = iso_layouts.isolinux(top)
    shutil.copy(images / "boot-screens/ldlinux.c32", isolinux)
    for name in ("isolinux.cfg", "txt.cfg"):
        shutil.copy(PARTS / "debian" / name, isolinux)
    named = [Path(shutil.copy(loaders / path, place / name)) for name, path in LOADERS.items()]
    iso_layouts.esp(top / "boot/grub/efi.img", named, "8M")
    iso_layouts.sums(top)
    return iso_layouts.debian(place / "debian.iso", top, "Debian 12 amd64")

"""The programs and files of a host that builds need, and which packages bring them.

A table and no more: whether a row's program is there is found out by those who use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagebuilder.errors import ConfigError
from imagebuilder.tool import (
    DEBIAN,
    REDHAT,
    SUSE,
    UBUNTU,
    Tool,
    for_networks,
    for_tests,
    library,
    named,
    shared,
)

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "debian": (DEBIAN,),
    "ubuntu": (UBUNTU, DEBIAN),
    "rhel": (REDHAT,),
    "fedora": (REDHAT,),
    "centos": (REDHAT,),
    "suse": (SUSE,),
    "opensuse": (SUSE,),
    "sles": (SUSE,),
}
INSTALL: Mapping[str, str] = {
    DEBIAN: "apt-get install -y --no-install-recommends",
    REDHAT: "dnf install -y",
    SUSE: "zypper install -y --no-recommends",
}
JOBS: Mapping[str, tuple[str, ...]] = {
    "build": ("shell", "tar", "debian", "ext4", "vfat", "qcow2"),
    "boot": ("boot", "uefi", "seed"),
    "initrd": ("shell", "initrd"),
    "iso": ("shell", "iso", "initrd"),
    "squashfs": ("shell", "squashfs"),
    "netboot": ("shell", "netboot", "initrd"),
    "test": (
        *("shell", "tar", "download", "debian", "ext4", "vfat", "xfs", "btrfs", "thin-pool"),
        *("qcow2", "boot", "uefi", "seed", "initrd", "iso", "squashfs", "test"),
    ),
}
ANY_IMAGE = ("shell",)
ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "block-device-efi-lvm": ("xfs",),
    "cache-url": ("download",),
    "debian": ("debian",),
    "debian-minimal": ("debian",),
    "iso": ("iso", "vfat"),
    "source-repositories": ("sources",),
    "ubuntu": ("ubuntu",),
    "ubuntu-minimal": ("ubuntu",),
    "vm": ("ext4", "vfat", "qcow2"),
}
TOOLS = (
    library("PyYAML", "yaml", "shell", "python3-yaml"),
    library("jsonschema", "jsonschema", "shell", "python3-jsonschema"),
    library("networkx", "networkx", "shell", "python3-networkx"),
    library("stevedore", "stevedore", "shell", "python3-stevedore"),
    library("rich", "rich", "shell", "python3-rich"),
    library("pytest", "pytest", "test", "python3-pytest"),
    library("hypothesis", "hypothesis", "test", "python3-hypothesis"),
    library("ensurepip", "ensurepip", "test", "python3-venv"),
    Tool(name="bash", features=("shell",), purpose="runs hooks", packages=named("bash")),
    Tool(name="env", features=("shell",), purpose="runs hooks", packages=named("coreutils")),
    Tool(
        name="tar",
        features=("tar",),
        purpose="packs and unpacks trees",
        packages=named("tar"),
        minimum="1.28",  # --sort
    ),
    Tool(
        name="curl",
        features=("download", "test"),
        purpose="downloads for hooks",
        packages=named("curl"),
    ),
    Tool(
        name="mmdebstrap",
        features=("debian", "ubuntu"),
        purpose="bootstraps Debian and Ubuntu",
        packages=named("mmdebstrap"),
        minimum="1.0",  # --skip=output/dev
    ),
    Tool(
        name="gpgv",
        features=("debian", "ubuntu"),
        purpose="checks package mirrors",
        packages=named("gpgv", "gnupg2", "gpg2"),
    ),
    Tool(
        name="debian-archive-keyring.gpg",
        features=("debian",),
        purpose="keys of Debian's mirrors",
        packages=named("debian-archive-keyring", "debian-keyring"),
        files=("/usr/share/keyrings/debian-archive-keyring.gpg",),
    ),
    Tool(
        name="ubuntu-archive-keyring.gpg",
        features=("ubuntu",),
        purpose="keys of Ubuntu's mirrors",
        packages={
            UBUNTU: "ubuntu-keyring",
            **named("ubuntu-archive-keyring", "ubu-keyring"),
        },
        files=("/usr/share/keyrings/ubuntu-archive-keyring.gpg",),
    ),
    Tool(
        name="mke2fs",
        features=("ext4",),
        purpose="makes ext2, ext3 and ext4",
        packages=named("e2fsprogs"),
        version=("-V",),
        minimum="1.43",  # -d
    ),
    Tool(
        name="mkfs.vfat",
        features=("vfat", "seed"),
        purpose="makes EFI system partitions and seeds",
        packages=named("dosfstools"),
        version=(),
    ),
    Tool(
        name="mkfs.xfs",
        features=("xfs",),
        purpose="makes xfs",
        packages=named("xfsprogs"),
        version=("-V",),
        minimum="5.0",
    ),
    Tool(
        name="mkfs.btrfs",
        features=("btrfs",),
        purpose="makes btrfs",
        packages=named("btrfs-progs", "btrfs-progs", "btrfsprogs"),
        minimum="5.0",
    ),
    Tool(
        name="thin_restore",
        features=("thin-pool",),
        purpose="writes the metadata of thin pools",
        packages=named("thin-provisioning-tools", "device-mapper-persistent-data"),
        version=("-V",),
    ),
    Tool(
        name="mmd",
        features=("vfat",),
        purpose="makes directories in them",
        packages=named("mtools"),
    ),
    Tool(
        name="mcopy",
        features=("vfat", "seed"),
        purpose="copies files into them",
        packages=named("mtools"),
    ),
    Tool(
        name="qemu-img",
        features=("qcow2", "boot"),
        purpose="writes qcow2",
        packages=named("qemu-utils", "qemu-img", "qemu-tools"),
        minimum="5.0",
    ),
    Tool(
        name="git",
        features=("sources", "test"),
        purpose="fetches sources for elements",
        packages=named("git"),
    ),
    Tool(
        name="newuidmap",
        features=("rootless",),
        purpose="builds without root",
        packages=named("uidmap", "shadow-utils", "shadow"),
        version=(),
    ),
    Tool(
        name="newgidmap",
        features=("rootless",),
        purpose="builds without root",
        packages=named("uidmap", "shadow-utils", "shadow"),
        version=(),
    ),
    Tool(
        name="qemu-system-x86_64",
        features=("boot",),
        purpose="starts images",
        packages=named("qemu-system-x86", "qemu-system-x86-core", "qemu-x86"),
        minimum="5.0",
    ),
    Tool(
        name="UEFI firmware",
        features=("uefi",),
        purpose="starts images by UEFI",
        packages=named("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64"),
        files=(
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
            "/usr/share/edk2/ovmf/OVMF_CODE.fd",
            "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
            "/usr/share/edk2-ovmf/OVMF_CODE.fd",
            "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
            "/usr/share/qemu/ovmf-x86_64-code.bin",
        ),
    ),
    Tool(
        name="liblz4",
        features=("initrd",),
        purpose="reads and writes initrds that are lz4",
        packages=named("liblz4-1", "lz4-libs", "liblz4-1"),
        files=shared("liblz4.so.1"),
    ),
    Tool(
        name="liblzo2",
        features=("initrd",),
        purpose="reads and writes initrds that are lzo",
        packages=named("liblzo2-2", "lzo", "liblzo2-2"),
        files=shared("liblzo2.so.2"),
    ),
    Tool(
        name="libzstd",
        features=("initrd",),
        purpose="reads and writes initrds that are zstd",
        packages=named("libzstd1", "libzstd", "libzstd1"),
        files=shared("libzstd.so.1"),
    ),
    Tool(
        name="depmod",
        features=("initrd",),
        purpose="indexes kernel modules that are added",
        packages=named("kmod"),
    ),
    Tool(
        name="xorriso",
        features=("iso",),
        purpose="copies ISO images",
        packages=named("xorriso"),
        minimum="1.5.2",  # type GUIDs of appended partitions
    ),
    Tool(
        name="mdir",
        features=("iso",),
        purpose="looks into EFI system partitions",
        packages=named("mtools"),
    ),
    Tool(
        name="implantisomd5",
        features=("iso",),
        purpose="renews checksums inside ISO images",
        packages=named("isomd5sum"),
        version=(),
    ),
    Tool(
        name="sqfs2tar",
        features=("squashfs",),
        purpose="reads squashfs images",
        packages=named("squashfs-tools-ng"),
    ),
    Tool(
        name="tar2sqfs",
        features=("squashfs",),
        purpose="writes squashfs images",
        packages=named("squashfs-tools-ng"),
    ),
    for_networks(
        "pxelinux.0",
        {DEBIAN: "pxelinux", REDHAT: "syslinux-tftpboot"},
        ("/usr/lib/PXELINUX/pxelinux.0", "/tftpboot/pxelinux.0"),
    ),
    for_networks(
        "ldlinux.c32",
        {DEBIAN: "syslinux-common", REDHAT: "syslinux-tftpboot"},
        ("/usr/lib/syslinux/modules/bios/ldlinux.c32", "/tftpboot/ldlinux.c32"),
    ),
    for_networks(
        "shimx64.efi.signed",
        {DEBIAN: "shim-signed"},
        ("/usr/lib/shim/shimx64.efi.signed", "/usr/lib/shim/shimx64.efi.signed.latest"),
    ),
    for_networks(
        "grubnetx64.efi",
        {DEBIAN: "grub-efi-amd64-signed"},
        (
            "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
            "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi",
        ),
    ),
    for_networks(
        "undionly.kpxe",
        {DEBIAN: "ipxe", REDHAT: "ipxe-bootimgs-x86"},
        ("/usr/lib/ipxe/undionly.kpxe", "/usr/share/ipxe/undionly.kpxe"),
    ),
    Tool(
        name="dnsmasq",
        features=("netboot", "test"),
        purpose="serves sets for networks",
        packages=named("dnsmasq-base", "dnsmasq"),
    ),
    for_tests("mksquashfs", "squashfs images", named("squashfs-tools"), version=("-version",)),
    for_tests("grub-mkrescue", "ISO images", named("grub-common", "grub2-tools-extra", "grub2")),
    for_tests(
        "cdboot.img",
        "ISO images",
        named("grub-pc-bin", "grub2-pc-modules", "grub2-i386-pc"),
        files=("/usr/lib/grub/i386-pc/cdboot.img",),
    ),
    for_tests(
        "GRUB for UEFI",
        "ISO images",
        named("grub-efi-amd64-bin", "grub2-efi-x64-modules", "grub2-x86_64-efi"),
        files=("/usr/lib/grub/x86_64-efi/modinfo.sh", "/usr/share/grub2/x86_64-efi/modinfo.sh"),
    ),
    for_tests(
        "isolinux.bin",
        "ISO images",
        named("isolinux", "syslinux"),
        files=("/usr/lib/ISOLINUX/isolinux.bin", "/usr/share/syslinux/isolinux.bin"),
    ),
    for_tests("cpio", "initrds", named("cpio")),
    for_tests("zstd", "initrds", named("zstd")),
    for_tests("lz4", "initrds", named("lz4")),
    for_tests("lzop", "initrds", named("lzop")),
    for_tests("bzip2", "initrds", named("bzip2")),
    for_tests("lsinitramfs", "initrds", {DEBIAN: "initramfs-tools-core"}, version=()),
    for_tests("shellcheck", "hooks", named("shellcheck", "ShellCheck")),
    for_tests("gpg", "signatures", named("gpg", "gnupg2", "gpg2")),
    for_tests("xz", "archives", named("xz-utils", "xz")),
    for_tests("sgdisk", "partition tables", named("gdisk", "gdisk", "gptfdisk")),
    for_tests("sfdisk", "partition tables", named("fdisk", "util-linux")),
    for_tests("busybox", "ramdisks", named("busybox"), version=()),
    for_tests("xfs_repair", "xfs", named("xfsprogs"), version=("-V",)),
    for_tests("lvm", "LVM", named("lvm2"), version=("version",)),
    for_tests("debugfs", "ext4", named("e2fsprogs"), version=("-V",)),
    for_tests("getfattr", "attributes", named("attr")),
    for_tests("getfacl", "ACLs", named("acl")),
    for_tests(
        "chromium",
        "the report's page",
        {UBUNTU: "chromium-browser", **named("chromium")},
        version=(),
    ),
)
FEATURES = tuple(dict.fromkeys(feature for tool in TOOLS for feature in tool.features))


def needed(features: Iterable[str]) -> tuple[Tool, ...]:
    """The rows for `features`, in the table's order; raise ConfigError for an unknown one."""
    wanted = set(features)
    if unknown := sorted(wanted - set(FEATURES)):
        raise ConfigError(
            f"no tools are known for {unknown[0]!r}", hint=f"there are: {', '.join(FEATURES)}"
        )
    return tuple(tool for tool in TOOLS if wanted & set(tool.features))


def of_elements(names: Iterable[str]) -> tuple[str, ...]:
    """The features that an image of these elements (with their dependencies) takes."""
    own = [feature for name in names for feature in ELEMENTS.get(name, ())]
    return tuple(dict.fromkeys((*ANY_IMAGE, *own)))


def families(os_release: str) -> tuple[str, ...]:
    """The families of a host, nearest first, by the content of its os-release(5)."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    words = [fields.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")]
    ids = " ".join(words).replace("opensuse-", "opensuse ").split()
    return tuple(dict.fromkeys(family for word in ids for family in FAMILIES.get(word, ())))


def package(tool: Tool, of: Iterable[str]) -> str:
    """What the first of these families that knows it calls the tool's package; maybe nothing."""
    return next((tool.packages[family] for family in of if family in tool.packages), "")


def older(version: str, minimum: str) -> bool:
    """Whether a version of numbers and dots is older than `minimum`."""
    return bool(minimum) and _numbers(version) < _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())

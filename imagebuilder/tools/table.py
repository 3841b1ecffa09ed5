"""The programs and files of a host that builds need, and which packages bring them.

A table and no more: whether a row's program is there is found out by those who use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagebuilder.errors import ConfigError
from imagebuilder.tools.model import DEBIAN, REDHAT, SUSE, UBUNTU, Tool, library, named, shared
from imagebuilder.tools.networks import FOR_NETWORKS
from imagebuilder.tools.testing import FOR_TESTS

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
    "formats": ("shell", "tar", "qemu-img", "mksquashfs", "push"),
    "boot": ("boot", "uefi", "seed"),
    "existing": ("shell", "tar", "existing", "published"),
    "foreign": ("shell", "tar", "debian", "ext4", "vfat", "qcow2", "foreign"),
    "initrd": ("shell", "initrd"),
    "iso": ("shell", "iso", "initrd"),
    "squashfs": ("shell", "squashfs"),
    "netboot": ("shell", "netboot", "initrd"),
    "deb": ("shell", "deb", "initrd"),
    "test": (
        *("shell", "tar", "download", "debian", "ext4", "vfat", "xfs", "btrfs", "thin-pool"),
        *("qcow2", "boot", "uefi", "seed", "initrd", "iso", "squashfs", "rpm", "zypper"),
        *("containers", "test"),
    ),
}
ANY_IMAGE = ("shell",)
ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "block-device-efi-lvm": ("xfs",),
    "cache-url": ("download",),
    "container-root": ("containers",),
    "debian": ("debian",),
    "debian-minimal": ("debian",),
    "existing-image": ("existing",),
    "iso": ("iso", "vfat"),
    "iso-medium": ("iso", "vfat", "squashfs", "initrd"),
    "replace-partition": ("existing",),
    "squashfs-root": ("squashfs",),
    "source-repositories": ("sources",),
    "ubuntu": ("published",),
    "ubuntu-minimal": ("ubuntu",),
    "vm": ("ext4", "vfat", "qcow2"),
    "yum-minimal": ("rpm",),
    "zypper-minimal": ("zypper",),
}
TOOLS = (
    library("PyYAML", "yaml", "shell", "python3-yaml"),
    library("jsonschema", "jsonschema", "shell", "python3-jsonschema"),
    library("networkx", "networkx", "shell", "python3-networkx"),
    library("stevedore", "stevedore", "shell", "python3-stevedore"),
    library("rich", "rich", "shell", "python3-rich"),
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
        features=("debian", "ubuntu", "published"),
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
        packages=named("ubuntu-keyring", "ubu-keyring"),  # not in Debian 12
        files=("/usr/share/keyrings/ubuntu-archive-keyring.gpg",),
    ),
    Tool(
        name="dnf",
        features=("rpm",),
        purpose="bootstraps Red Hat's family",
        packages=named("dnf"),
        minimum="4.2",
    ),
    Tool(
        name="rpm",
        features=("rpm", "zypper"),
        purpose="looks into what they installed",
        packages=named("rpm"),
        minimum="4.14",
    ),
    Tool(
        name="gpg",
        features=("rpm", "zypper", "deb", "test"),
        purpose="checks and makes signatures of packages",
        packages=named("gpg", "gnupg2", "gpg2"),
    ),
    Tool(
        name="zypper",
        features=("zypper",),
        purpose="bootstraps openSUSE",
        packages=named("zypper"),
    ),
    Tool(
        name="skopeo",
        features=("containers", "push", "test"),
        purpose="copies container images from and to registries",
        packages=named("skopeo"),
    ),
    Tool(
        name="arch-test",
        features=("foreign",),
        purpose="shows which architectures the host can run",
        packages=named("arch-test"),
        version=(),
    ),
    Tool(
        name="qemu-user",
        features=("foreign",),
        purpose="runs programs of other architectures",
        packages=named("qemu-user-static", "qemu-user-static", "qemu-linux-user"),
        files=("/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"),
    ),
    Tool(
        name="binfmt-support",
        features=("foreign",),
        purpose="lets the kernel use them",
        packages=named("binfmt-support", "systemd"),
        files=("/usr/sbin/update-binfmts", "/usr/lib/systemd/systemd-binfmt"),
    ),
    Tool(
        name="qemu-system-aarch64",
        features=("foreign",),
        purpose="starts images for arm64",
        packages=named("qemu-system-arm", "qemu-system-aarch64", "qemu-arm"),
        minimum="5.0",
    ),
    Tool(
        name="UEFI firmware for arm64",
        features=("foreign",),
        purpose="starts images for arm64",
        packages=named("qemu-efi-aarch64", "edk2-aarch64", "qemu-uefi-aarch64"),
        files=(
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/qemu/aavmf-aarch64-code.bin",
        ),
    ),
    Tool(
        name="mke2fs",
        features=("ext4", "existing"),
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
        features=("vfat", "seed", "existing"),
        purpose="copies files into them",
        packages=named("mtools"),
    ),
    Tool(
        name="qemu-img",
        features=("qcow2", "qemu-img", "boot", "existing"),
        purpose="writes qcow2 and other images",
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
        features=("squashfs", "published"),
        purpose="reads squashfs images",
        packages=named("squashfs-tools-ng"),
    ),
    Tool(
        name="tar2sqfs",
        features=("squashfs",),
        purpose="writes squashfs images",
        packages=named("squashfs-tools-ng"),
    ),
    Tool(
        name="mksquashfs",
        features=("mksquashfs", "test"),
        purpose="makes outputs that are squashfs",
        packages=named("squashfs-tools", "squashfs-tools", "squashfs"),
        version=("-version",),
        minimum="4.4",  # the same bytes again
    ),
    Tool(
        name="dpkg-deb",
        features=("deb",),
        purpose="unpacks and builds packages",
        packages=named("dpkg"),
    ),
    *FOR_NETWORKS,
    *FOR_TESTS,
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

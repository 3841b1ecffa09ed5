"""The programs and files of a host that builds need, and which packages bring them.

A table and no more: whether a row's program is there is found out by those who use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imagebuilder.errors import ConfigError

DEBIAN, UBUNTU, REDHAT, SUSE = "debian", "ubuntu", "redhat", "suse"
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
    "test": (
        *("shell", "tar", "download", "debian", "ext4", "vfat", "xfs", "btrfs", "thin-pool"),
        *("qcow2", "boot", "uefi", "seed", "test"),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, or (with `files`) a file of which any one will do, or a Python library.

    `packages` are by family of distributions; `version` are the arguments that make the program
    tell its version, none if it cannot; `minimum` is the oldest version that will do. A library
    is known by the `module` that it brings, and to pip as `name`.
    """

    name: str
    features: tuple[str, ...]
    purpose: str
    packages: Mapping[str, str]
    version: tuple[str, ...] = ("--version",)
    minimum: str = ""
    files: tuple[str, ...] = ()
    module: str = ""


def _named(debian: str, redhat: str = "", suse: str = "") -> Mapping[str, str]:
    return {DEBIAN: debian, REDHAT: redhat or debian, SUSE: suse or redhat or debian}


def _library(name: str, module: str, feature: str, debian: str) -> Tool:
    return Tool(
        name=name,
        features=(feature,),
        purpose="Python library",
        packages={DEBIAN: debian, REDHAT: debian, SUSE: debian},
        module=module,
    )


TOOLS = (
    _library("PyYAML", "yaml", "shell", "python3-yaml"),
    _library("jsonschema", "jsonschema", "shell", "python3-jsonschema"),
    _library("networkx", "networkx", "shell", "python3-networkx"),
    _library("stevedore", "stevedore", "shell", "python3-stevedore"),
    _library("rich", "rich", "shell", "python3-rich"),
    _library("pytest", "pytest", "test", "python3-pytest"),
    _library("hypothesis", "hypothesis", "test", "python3-hypothesis"),
    _library("ensurepip", "ensurepip", "test", "python3-venv"),
    Tool(name="bash", features=("shell",), purpose="runs hooks", packages=_named("bash")),
    Tool(name="env", features=("shell",), purpose="runs hooks", packages=_named("coreutils")),
    Tool(
        name="tar",
        features=("tar",),
        purpose="packs and unpacks trees",
        packages=_named("tar"),
        minimum="1.28",  # --sort
    ),
    Tool(
        name="curl",
        features=("download", "test"),
        purpose="downloads for hooks",
        packages=_named("curl"),
    ),
    Tool(
        name="mmdebstrap",
        features=("debian", "ubuntu"),
        purpose="bootstraps Debian and Ubuntu",
        packages=_named("mmdebstrap"),
        minimum="1.0",  # --skip=output/dev
    ),
    Tool(
        name="gpgv",
        features=("debian", "ubuntu"),
        purpose="checks package mirrors",
        packages=_named("gpgv", "gnupg2", "gpg2"),
    ),
    Tool(
        name="debian-archive-keyring.gpg",
        features=("debian",),
        purpose="keys of Debian's mirrors",
        packages=_named("debian-archive-keyring", "debian-keyring"),
        files=("/usr/share/keyrings/debian-archive-keyring.gpg",),
    ),
    Tool(
        name="ubuntu-archive-keyring.gpg",
        features=("ubuntu",),
        purpose="keys of Ubuntu's mirrors",
        packages={
            UBUNTU: "ubuntu-keyring",
            **_named("ubuntu-archive-keyring", "ubu-keyring"),
        },
        files=("/usr/share/keyrings/ubuntu-archive-keyring.gpg",),
    ),
    Tool(
        name="mke2fs",
        features=("ext4",),
        purpose="makes ext2, ext3 and ext4",
        packages=_named("e2fsprogs"),
        version=("-V",),
        minimum="1.43",  # -d
    ),
    Tool(
        name="mkfs.vfat",
        features=("vfat", "seed"),
        purpose="makes EFI system partitions and seeds",
        packages=_named("dosfstools"),
        version=(),
    ),
    Tool(
        name="mkfs.xfs",
        features=("xfs",),
        purpose="makes xfs",
        packages=_named("xfsprogs"),
        version=("-V",),
        minimum="5.0",
    ),
    Tool(
        name="mkfs.btrfs",
        features=("btrfs",),
        purpose="makes btrfs",
        packages=_named("btrfs-progs", "btrfs-progs", "btrfsprogs"),
        minimum="5.0",
    ),
    Tool(
        name="thin_restore",
        features=("thin-pool",),
        purpose="writes the metadata of thin pools",
        packages=_named("thin-provisioning-tools", "device-mapper-persistent-data"),
        version=("-V",),
    ),
    Tool(
        name="mmd",
        features=("vfat",),
        purpose="makes directories in them",
        packages=_named("mtools"),
    ),
    Tool(
        name="mcopy",
        features=("vfat", "seed"),
        purpose="copies files into them",
        packages=_named("mtools"),
    ),
    Tool(
        name="qemu-img",
        features=("qcow2", "boot"),
        purpose="writes qcow2",
        packages=_named("qemu-utils", "qemu-img", "qemu-tools"),
        minimum="5.0",
    ),
    Tool(
        name="git",
        features=("sources", "test"),
        purpose="fetches sources for elements",
        packages=_named("git"),
    ),
    Tool(
        name="xorriso",
        features=("iso", "test"),
        purpose="writes ISO images",
        packages=_named("xorriso"),
    ),
    Tool(
        name="newuidmap",
        features=("rootless",),
        purpose="builds without root",
        packages=_named("uidmap", "shadow-utils", "shadow"),
        version=(),
    ),
    Tool(
        name="newgidmap",
        features=("rootless",),
        purpose="builds without root",
        packages=_named("uidmap", "shadow-utils", "shadow"),
        version=(),
    ),
    Tool(
        name="qemu-system-x86_64",
        features=("boot",),
        purpose="starts images",
        packages=_named("qemu-system-x86", "qemu-system-x86-core", "qemu-x86"),
        minimum="5.0",
    ),
    Tool(
        name="UEFI firmware",
        features=("uefi",),
        purpose="starts images by UEFI",
        packages=_named("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64"),
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
        name="shellcheck",
        features=("test",),
        purpose="checks hooks",
        packages=_named("shellcheck", "ShellCheck"),
    ),
    Tool(
        name="busybox",
        features=("test",),
        purpose="tests of ramdisks",
        packages=_named("busybox"),
        version=(),
    ),
    Tool(
        name="cpio",
        features=("test",),
        purpose="tests of ramdisks",
        packages=_named("cpio"),
    ),
    Tool(
        name="gpg",
        features=("test",),
        purpose="tests of signatures",
        packages=_named("gpg", "gnupg2", "gpg2"),
    ),
    Tool(
        name="xz",
        features=("test",),
        purpose="tests of archives",
        packages=_named("xz-utils", "xz"),
    ),
    Tool(
        name="sgdisk",
        features=("test",),
        purpose="tests of partition tables",
        packages=_named("gdisk", "gdisk", "gptfdisk"),
    ),
    Tool(
        name="sfdisk",
        features=("test",),
        purpose="tests of partition tables",
        packages=_named("fdisk", "util-linux"),
    ),
    Tool(
        name="xfs_repair",
        features=("test",),
        purpose="tests of xfs",
        packages=_named("xfsprogs"),
        version=("-V",),
    ),
    Tool(
        name="lvm",
        features=("test",),
        purpose="tests of LVM",
        packages=_named("lvm2"),
        version=("version",),
    ),
    Tool(
        name="debugfs",
        features=("test",),
        purpose="tests of ext4",
        packages=_named("e2fsprogs"),
        version=("-V",),
    ),
    Tool(
        name="getfattr",
        features=("test",),
        purpose="tests of attributes",
        packages=_named("attr"),
    ),
    Tool(name="getfacl", features=("test",), purpose="tests of ACLs", packages=_named("acl")),
    Tool(
        name="chromium",
        features=("test",),
        purpose="tests of the report's page",
        packages={UBUNTU: "chromium-browser", **_named("chromium")},
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

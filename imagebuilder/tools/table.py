"""The programs and files of a host that builds need, and which packages bring them.

A table and no more: whether a row's program is there is found out by those who use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagebuilder.errors import ConfigError
from imagebuilder.tools.model import DEBIAN, REDHAT, SUSE, UBUNTU, Tool
from imagebuilder.tools.networks import FOR_NETWORKS
from imagebuilder.tools.programs import PROGRAMS
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
TOOLS = (*PROGRAMS, *FOR_NETWORKS, *FOR_TESTS)
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

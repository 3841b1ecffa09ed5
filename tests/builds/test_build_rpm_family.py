"""The relatives of CentOS: their own names, repositories and keys, over packages of the tests.

They differ little from CentOS, so they are built only when IMAGEBUILDER_SLOW_TESTS is set.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rpm_archive
import rpm_system
from marks import slow
from oci_layout import Layout, layer
from rpm_archive import NEEDED, Key, Package
from signed_archive import Archive, run, served

if TYPE_CHECKING:
    from conftest import Workshop
    from rpm_system import System

pytestmark = [
    pytest.mark.builds,
    slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")
        for tool in (*NEEDED, "grub-mkimage")
    ),
]
BOOT_LOADERS = ("grub2-efi-x64", "shim-x64")
REPOSITORY = """\
[baseos]
name={name} $releasever - BaseOS
mirrorlist=https://mirrors.{name}.invalid/mirrorlist/$releasever/baseos
# baseurl=https://repo.{name}.invalid{path}/$releasever/BaseOS/$basearch/os/
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-test

[appstream]
name={name} $releasever - AppStream
mirrorlist=https://mirrors.{name}.invalid/mirrorlist/$releasever/appstream
# baseurl=https://repo.{name}.invalid{path}/$releasever/AppStream/$basearch/os/
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-{name}
"""
OS_RELEASE = 'ID="{id}"\nVERSION_ID="{version}"\nPRETTY_NAME="{id} {version}"\n'
EPEL = """\
[epel]
name=EPEL
metalink=https://mirrors.example.invalid/metalink?repo=epel-9
#baseurl=https://download.example.invalid/pub/epel/9/Everything/$basearch/
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-EPEL-9
enabled=1
"""
# Every line of the log is `name: status output`.
ASK = r"""
log=/root/asked
ask() { # name, command...
    local name=$1 status=0 output
    shift
    output=$("$@" 2>&1) || status=$?
    echo "$name: $status ${output##*$'\n'}" >> $log
}
ask mapped pkg-map --element asking words-of-welcome
ask service svc-map greeting-service
ask greeting greet
ask farewell install-packages farewell
ask erased install-packages -e farewell
ask still rpm -q farewell
ask missing install-packages nothing-of-this-name
ask current install-packages -u
"""


def asking(workshop: Workshop) -> None:
    """Write the element that asks."""
    workshop.element("asking", {
        "element-deps": "package-installs\nsvc-map\n",
        "package-installs.yaml": "words-of-welcome:\n",
        "pkg-map": '{"family": {"redhat": {"words-of-welcome": "greeting"}}}',
        "svc-map": "greeting-service:\n  redhat: greeter\n",
        "install.d/60-asking": ASK,
    })  # fmt: skip


def answers(tree: Path) -> dict[str, tuple[int, str]]:
    """What the element saw: the status and the last line of each of its commands."""
    lines = [line.split(": ", 1) for line in (tree / "root/asked").read_text().splitlines()]
    found = {name: rest.split(" ", 1) for name, rest in lines}
    return {name: (int(status), text) for name, (status, text) in found.items()}


def unpacked(made: Path, into: Path) -> Path:
    into.mkdir()
    run("tar", "-xf", str(made), "-C", str(into))
    return into


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return rpm_system.make(rpm_system.kept(tmp_path_factory))


def boot_loaders(system: System, directory: str) -> list[Package]:
    """The packages of the boot loaders of a distribution that has its own directory for them."""
    words = dict.fromkeys(("KEY", "KERNEL", "VERSION"), "")
    words |= {"GRUB": str(system.root / "grubx64.efi"), "CSV": str(system.root / "BOOTX64.CSV")}
    packages = {package.name: package for package in rpm_archive.load(words)}
    return [
        replace(
            packages[name],
            version="2",
            efi=tuple(file.replace("EFI/centos", directory) for file in packages[name].efi),
        )
        for name in BOOT_LOADERS
    ]


def publish(system: System, packages: list[Package], into: Path, signer: Key) -> None:
    rpm_archive.build(packages, system.root.parent / "debs", into, signer)


@pytest.fixture(scope="module")
def seed(images: Workshop, system: System) -> bytes:
    """A layer with a root as containers have it: no kernel, no network."""
    images.element("less", {
        "finalise.d/90-less": (
            "install-packages -e kernel-core NetworkManager grubby\nrm -rf /boot/*\n"
        )
    })  # fmt: skip
    repositories = images.directory / "repositories"
    repositories.mkdir()
    with served(Archive(system.root)) as archive:
        (repositories / "os.repo").write_text(system.repository(archive.url))
        done = images.create(
            "-n", "-o", "seed", "-t", "tar", "centos-minimal", "less",
            DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=str(repositories), DIB_CHECKSUM="0",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return (images.directory / "seed.tar").read_bytes()


@dataclass(frozen=True)
class Relative:
    """A distribution that was built: its name, its files, what the build said."""

    name: str
    tree: Path
    log: str


@pytest.fixture(scope="module", params=["almalinux", "rocky"])
def relative(
    request: pytest.FixtureRequest, images: Workshop, system: System, seed: bytes
) -> Relative:
    """A machine of a distribution that comes from a container, with EPEL."""
    name = request.param
    root = images.directory / f"mirror-{name}"
    system_tree = root / "9/BaseOS/x86_64/os"
    system_tree.parent.mkdir(parents=True)
    system_tree.symlink_to(system.root / "os")
    with rpm_archive.key() as key:
        public = key.public.read_text()
        epel = Package(name="epel-release", files={
            "etc/yum.repos.d/epel.repo": EPEL, "etc/pki/rpm-gpg/RPM-GPG-KEY-EPEL-9": public,
        })  # fmt: skip
        own = [*boot_loaders(system, f"EFI/{name}"), epel]
        publish(system, own, root / "9/AppStream/x86_64/os", key)
        of_epel = Package(name="of-epel", files={"usr/share/of-epel": "\n"})
        publish(system, [of_epel], root / "epel/9/Everything/x86_64", key)
    identity = {
        "usr/lib/os-release": OS_RELEASE.format(id=name, version="9.6"),
        f"etc/pki/rpm-gpg/RPM-GPG-KEY-{name}": public,
        "etc/yum.repos.d/.wh..wh..opq": "",
        f"etc/yum.repos.d/{name}.repo": REPOSITORY.format(name=name, path=f"/{name}"),
        ".dockerenv": "",
    }
    layout = Layout(images.directory / f"layout-{name}")
    layout.finish(layout.image("amd64", [seed, layer(identity)]))
    asking(images)
    with served(Archive(root)) as archive:
        done = images.create(
            "-o", name, "-t", "tar,qcow2", "-p", "of-epel", "vm", name, "epel", "asking",
            DIB_CONTAINER_IMAGE=str(layout.root), DIB_RELEASE="9",
            DIB_DISTRIBUTION_MIRROR=archive.url, DIB_EPEL_MIRROR=f"{archive.url}/epel",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return Relative(name, unpacked(images.directory / f"{name}.tar", root / "tree"), done.stdout)


def test_a_container_becomes_a_machine(relative: Relative) -> None:
    tree = relative.tree
    assert f'ID="{relative.name}"' in (tree / "usr/lib/os-release").read_text()
    (entry,) = (tree / "boot/loader/entries").iterdir()
    assert "root=LABEL=" in entry.read_text()
    assert [*(tree / "boot").glob("initramfs-*.img")]
    assert not (tree / ".dockerenv").exists()
    loaders = {path.name for path in (tree / "boot/efi/EFI" / relative.name).iterdir()}
    assert {"grubx64.efi", "shimx64.efi"} <= loaders
    assert (tree / "usr/bin/cloud-init").exists()
    assert (tree / "usr/sbin/sshd").exists()


def test_packages_come_and_go(relative: Relative) -> None:
    asked = answers(relative.tree)
    assert asked["mapped"] == (0, "greeting")
    assert asked["service"] == (0, "greeter")
    assert asked["greeting"] == (0, "good day")
    assert asked["farewell"][0] == 0
    assert asked["erased"][0] == 0
    assert asked["still"] == (1, "package farewell is not installed")
    assert asked["missing"][0] == 1
    assert (relative.tree / "usr/share/of-epel").exists()
    assert asked["current"][0] == 0


def test_its_labels_are_those_of_its_policy(images: Workshop, relative: Relative) -> None:
    with tarfile.open(images.directory / f"{relative.name}.tar") as archive:
        headers = archive.getmember("./etc/shadow").pax_headers
    label = headers["SCHILY.xattr.security.selinux"].rstrip("\0")
    assert label == "system_u:object_r:shadow_t:s0"


def test_openeuler_is_bootstrapped_from_its_mirror(workshop: Workshop, system: System) -> None:
    root = workshop.directory / "mirror"
    tree = root / "openEuler-22.03-LTS"
    (tree / "OS").mkdir(parents=True)
    (tree / "OS/x86_64").symlink_to(system.root / "os")
    keys = workshop.directory / "keys"
    with rpm_archive.key() as key:
        keys.write_text(system.key.read_text() + key.public.read_text())
        own = [
            *boot_loaders(system, "EFI/openEuler"),
            Package(
                name="openEuler-release",
                files={"etc/os-release": OS_RELEASE.format(id="openEuler", version="22.03")},
                provides=("system-release = 22.03", "system-release(releasever) = 22.03LTS"),
            ),
            Package(name="openEuler-repos"),
            Package(name="openEuler-gpg-keys"),
        ]
        publish(system, own, tree / "update/x86_64", key)
    asking(workshop)
    with served(Archive(root)) as archive:
        done = workshop.create(
            "-o", "euler", "-t", "tar", "vm", "openeuler-minimal", "asking",
            DIB_DISTRIBUTION_MIRROR=archive.url, DIB_YUM_MINIMAL_GPG_KEY=str(keys),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    made = unpacked(workshop.directory / "euler.tar", workshop.directory / "tree")
    assert "openEuler" in (made / "etc/os-release").read_text()
    assert (made / "boot/efi/EFI/openEuler/grubx64.efi").exists()
    asked = answers(made)
    assert asked["greeting"] == (0, "good day")
    assert asked["service"] == (0, "greeter")
    assert asked["farewell"][0] == 0
    assert asked["still"] == (1, "package farewell is not installed")

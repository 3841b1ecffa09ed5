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
from questions import ask
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
        for tool in (*NEEDED, "grub-mkimage", "qemu-system-x86_64")
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
CLOUD = ("cloud-init", "cloud-init-datasources", "growroot", "devuser")
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed": "systemctl --failed --no-legend --plain",
    "release": ". /etc/os-release; echo $ID $VERSION_ID",
    "size": "df --output=size -BM / | tail -1",
    "address": "ip -4 -br address show scope global",
    "cloud": "cloud-init status --long",
}
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


def of_centos(system: System, grub: str = "") -> dict[str, Package]:
    """The packages of the stand-in by name, as they would be made."""
    words = dict.fromkeys(("KEY", "KERNEL", "VERSION"), "")
    words |= {"GRUB": grub, "CSV": str(system.root / "BOOTX64.CSV")}
    return {package.name: package for package in rpm_archive.load(words)}


def boot_loaders(system: System, directory: str) -> list[Package]:
    """The packages of the boot loaders of a distribution that has its own directory for them."""
    debs = system.root.parent / "debs"
    grub = debs / f"grubx64-{directory.replace('/', '-')}.efi"
    rpm_system.make_grub(debs, directory, grub)
    packages = of_centos(system, str(grub))
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
            DIB_CONTAINER_IMAGE=str(layout.root), DIB_RELEASE="9", DIB_CONTAINER_GROUP="none",
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


@dataclass(frozen=True, kw_only=True)
class FromMirror:
    """A distribution that is bootstrapped from a mirror, with the mirror's layout."""

    id: str
    version: str
    efi: str
    os: str  # where the mirror has the system's packages
    own: str  # and where those that differ
    release: str
    others: tuple[str, ...]
    provides: tuple[str, ...]
    database: str = "var/lib/rpm"
    stream: str = ""  # what `$stream` is

    def packages(self, system: System) -> list[Package]:
        """Its packages that are not those of the system."""
        files = {"etc/os-release": OS_RELEASE.format(id=self.id, version=self.version)}
        theirs = of_centos(system)["centos-stream-release"].files
        files |= {name: text for name, text in theirs.items() if name.endswith(".preset")}
        if self.database != "var/lib/rpm":
            files["etc/rpm/macros.sysimage"] = f"%_dbpath /{self.database}\n"
        if self.stream:
            files["etc/dnf/vars/stream"] = f"{self.stream}\n"
        names = [Package(name=name, version="12") for name in self.others]
        release = Package(name=self.release, version="12", files=files, provides=self.provides)
        return [*boot_loaders(system, f"EFI/{self.efi}"), release, *names]


FROM_MIRRORS = {
    "openeuler-minimal": FromMirror(
        id="openEuler", version="22.03", efi="openEuler",
        os="openEuler-22.03-LTS/OS/x86_64", own="openEuler-22.03-LTS/update/x86_64",
        release="openEuler-release", others=("openEuler-repos", "openEuler-gpg-keys"),
        provides=("system-release = 22.03", "system-release(releasever) = 22.03LTS"),
    ),
    "fedora-minimal": FromMirror(
        id="fedora", version="43", efi="fedora", database="usr/lib/sysimage/rpm",
        os="releases/43/Everything/x86_64/os", own="updates/43/Everything/x86_64",
        release="fedora-release-common",
        others=("fedora-release-cloud", "fedora-repos", "fedora-gpg-keys"),
        provides=("system-release = 43", "system-release(releasever) = 43"),
    ),
    "centos-minimal": FromMirror(
        id="centos", version="10", efi="centos", database="usr/lib/sysimage/rpm",
        os="10-stream/BaseOS/x86_64/os", own="10-stream/AppStream/x86_64/os",
        release="centos-stream-release", others=("centos-stream-repos", "centos-gpg-keys"),
        stream="10-stream", provides=("system-release = 10", "system-release(releasever) = 10"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("element", FROM_MIRRORS)
def test_it_is_bootstrapped_from_its_mirror(
    workshop: Workshop, system: System, element: str
) -> None:
    wanted = FROM_MIRRORS[element]
    root = workshop.directory / "mirror"
    (root / wanted.os).parent.mkdir(parents=True)
    (root / wanted.os).symlink_to(system.root / "os")
    keys = workshop.directory / "keys"
    with rpm_archive.key() as key:
        keys.write_text(system.key.read_text() + key.public.read_text())
        publish(system, wanted.packages(system), root / wanted.own, key)
    asking(workshop)
    with served(Archive(root)) as archive:
        done = workshop.create(
            "-o", "machine", "-t", "tar,qcow2", "vm", element, *CLOUD, "asking",
            DIB_DISTRIBUTION_MIRROR=archive.url, DIB_YUM_MINIMAL_GPG_KEY=str(keys),
            DIB_CLOUD_INIT_DATASOURCES="NoCloud",
            DIB_RELEASE=wanted.stream,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    made = unpacked(workshop.directory / "machine.tar", workshop.directory / "tree")
    assert f'ID="{wanted.id}"' in (made / "etc/os-release").read_text()
    assert (made / f"boot/efi/EFI/{wanted.efi}/grubx64.efi").exists()
    assert (made / wanted.database / "rpmdb.sqlite").exists()
    asked = answers(made)
    assert asked["greeting"] == (0, "good day")
    assert asked["service"] == (0, "greeter")
    assert asked["farewell"][0] == 0
    assert asked["still"] == (1, "package farewell is not installed")
    starts(workshop, f"{wanted.id} {wanted.version}")


def starts(workshop: Workshop, release: str) -> None:
    """See the machine come up, and again by the other firmware from the same disk."""
    kept = ("--disk-size", "5GiB", "--overlay", str(workshop.directory / "disk.qcow2"))
    for firmware in ("bios", "uefi"):
        told = ask(workshop, "machine.qcow2", QUESTIONS, *kept, "--firmware", firmware)
        assert told["release"] == release
        assert told["system"] == "running", told
        assert not told["failed"]
        assert "status: done" in told["cloud"]
        assert int(told["size"].rstrip("M")) > 4000
        assert "/" in told["address"]

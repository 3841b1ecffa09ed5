"""Roots of Red Hat's family, made by real dnf and rpm from repositories that the tests make."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rpm_system
from oci_layout import Layout, layer
from rpm_archive import NEEDED
from signed_archive import Archive, run, served

if TYPE_CHECKING:
    from conftest import Workshop
    from rpm_system import System

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")
        for tool in (*NEEDED, "grub-mkimage")
    ),
]
REPOSITORIES = ("oss", "update")  # openSUSE's
# What the element does inside the root; every line of its log is `name: status output`.
ASK = r"""
log=/root/asked
cp "$(dirname "$0")/../asking/strangers.repo" /etc/yum.repos.d/
ask() { # name, command...
    local name=$1 status=0 output
    shift
    output=$("$@" 2>&1) || status=$?
    echo "$name: $status ${output##*$'\n'}" >> $log
}
ask greeting greet
ask service svc-map greeting-service
ask mapped pkg-map --element asking words-of-welcome
ask map-packages map-packages libfoo-dev apache2
ask again install-packages greeting
ask needed install-packages farewell
ask part part
ask erased install-packages -e farewell
ask still rpm -q farewell
ask missing install-packages nothing-of-this-name
ask stranger install-packages stranger
ask downloaded install-packages -d /root/downloads lsof
ask current install-packages -u
rm -f /etc/yum.repos.d/strangers.repo
cp "$(dirname "$0")/../asking/updates.repo" /etc/yum.repos.d/
ask upgrade install-packages -u
ask evening greet
ask verified rpm -V greeting bash
ask key rpm -q gpg-pubkey
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return rpm_system.make(rpm_system.kept(tmp_path_factory))


@pytest.fixture(scope="module")
def mirror(system: System) -> Iterator[Archive]:
    with served(Archive(system.root)) as archive:
        yield archive


def repositories(workshop: Workshop, *texts: str) -> str:
    """A directory of `.repo` files with these texts."""
    directory = workshop.directory / "repositories"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for number, text in enumerate(texts):
        (directory / f"{number}.repo").write_text(text)
    return str(directory)


@pytest.fixture(scope="module")
def root(images: Workshop, system: System, mirror: Archive) -> Path:
    """The tree of a CentOS whose packages an element has worked with."""
    strangers = system.repository(mirror.url, "strangers")
    images.element("asking", {
        "element-deps": "package-installs\nsvc-map\n",
        "package-installs.yaml": "words-of-welcome:\n",
        "pkg-map": json.dumps({"family": {"redhat": {"words-of-welcome": "greeting"}}}),
        "svc-map": "greeting-service:\n  redhat: greeter\n",
        "asking/updates.repo": system.repository(mirror.url, "updates"),
        "asking/strangers.repo": strangers,
        "install.d/60-asking": ASK,
    })  # fmt: skip
    done = images.create(
        "-o", "centos", "-t", "tar", "vm", "centos-minimal", "asking",
        DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=repositories(images, system.repository(mirror.url)),
        SOURCE_DATE_EPOCH="1700000000",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    tree = images.directory / "tree"
    tree.mkdir()
    run("tar", "-xf", str(images.directory / "centos.tar"), "-C", str(tree))
    (tree / "log").write_text(done.stdout)
    return tree


@pytest.fixture(scope="module")
def asked(root: Path) -> dict[str, tuple[int, str]]:
    """What the element saw: the status and the last line of each of its commands."""
    lines = [line.split(": ", 1) for line in (root / "root/asked").read_text().splitlines()]
    answers = {name: rest.split(" ", 1) for name, rest in lines}
    return {name: (int(status), text) for name, (status, text) in answers.items()}


def test_a_package_of_an_element_is_there_by_its_mapped_name(
    asked: dict[str, tuple[int, str]],
) -> None:
    assert asked["greeting"] == (0, "good day")
    assert asked["mapped"] == (0, "greeting")
    assert asked["service"] == (0, "greeter")


@pytest.mark.usefixtures("root")
def test_the_report_has_the_packages_that_rpm_has(images: Workshop) -> None:
    report = json.loads((images.directory / "centos.d/report.json").read_text())
    manifest = images.directory / "centos.d/dib-manifests/dib-manifest-rpm-centos"
    listed = json.loads(manifest.read_text())["packages"]
    names = {each["package"] for each in listed} - {"gpg-pubkey"}
    assert {each["name"] for each in report["packages"]} == names
    assert all(each["size"] for each in report["packages"] if each["name"] == "bash")


def test_packages_are_installed_and_removed(asked: dict[str, tuple[int, str]]) -> None:
    assert asked["again"][0] == 0
    assert asked["needed"][0] == 0
    assert asked["part"] == (0, "good bye")
    assert asked["erased"][0] == 0
    assert asked["still"] == (1, "package farewell is not installed")


def test_names_of_debian_are_translated(asked: dict[str, tuple[int, str]]) -> None:
    assert asked["map-packages"] == (0, "httpd")


def test_a_missing_package_is_named(asked: dict[str, tuple[int, str]]) -> None:
    status, line = asked["missing"]
    assert status == 1
    assert "no repository has the package: No match for argument: nothing-of-this-name" in line


def test_a_package_with_another_signature_is_refused(asked: dict[str, tuple[int, str]]) -> None:
    status, line = asked["stranger"]
    assert status == 1
    assert "install-packages: the signature is not trusted" in line


def test_packages_are_only_downloaded(root: Path, asked: dict[str, tuple[int, str]]) -> None:
    assert asked["downloaded"][0] == 0
    assert [path.name for path in (root / "root/downloads").iterdir()] == ["lsof-1-1.x86_64.rpm"]


def test_packages_are_upgraded(asked: dict[str, tuple[int, str]]) -> None:
    assert asked["upgrade"][0] == 0
    assert asked["evening"] == (0, "good evening")
    assert asked["verified"] == (0, "")
    assert asked["key"][0] == 0


def test_a_root_that_was_just_bootstrapped_is_not_upgraded(root: Path) -> None:
    assert "install-packages: every package is up to date" in (root / "log").read_text()


def test_the_image_has_its_distributions_repositories(root: Path) -> None:
    names = sorted(path.name for path in (root / "etc/yum.repos.d").iterdir())
    assert names == ["centos.repo", "updates.repo"]
    assert not (root / "var/cache/dnf").exists()


def test_its_kernel_starts_from_its_own_root(root: Path) -> None:
    (entry,) = (root / "boot/loader/entries").iterdir()
    assert "root=LABEL=" in entry.read_text()
    assert "of-the-build-host" not in (root / "etc/kernel/cmdline").read_text()
    assert [*(root / "boot").glob("initramfs-*.img")]
    assert (root / "etc/machine-id").read_text() == "uninitialized\n"


@pytest.mark.usefixtures("root")
def test_its_manifest_lists_packages(images: Workshop) -> None:
    manifest = images.directory / "centos.d/dib-manifests/dib-manifest-rpm-centos"
    names = {row["package"] for row in json.loads(manifest.read_text())["packages"]}
    assert {"bash", "kernel-core", "greeting"} <= names
    assert "farewell" not in names


def test_times_in_the_database_of_packages_are_the_images(root: Path) -> None:
    times = run(
        "rpm", "--root", str(root), "--dbpath", "/var/lib/rpm", "-qa", "--qf", "%{INSTALLTIME} "
    )
    assert {*times.split()} == {"1700000000"}


def test_labels_of_selinux_are_set(images: Workshop, root: Path) -> None:
    with tarfile.open(images.directory / "centos.tar") as archive:
        shadow = archive.getmember("./etc/shadow")
    label = shadow.pax_headers["SCHILY.xattr.security.selinux"]
    assert label.rstrip("\0") == "system_u:object_r:shadow_t:s0"
    assert not (root / ".autorelabel").exists()


@pytest.mark.parametrize("distribution", ["rocky", "almalinux", "fedora"])
def test_a_container_image_becomes_a_root(images: Workshop, root: Path, distribution: str) -> None:
    release = f"etc/{distribution}-release"
    identity = {release: distribution, ".dockerenv": "", "usr/bin/.wh.part": ""}
    layout = Layout(images.directory / f"layout-{distribution}")
    layers = [(images.directory / "centos.tar").read_bytes(), layer(identity)]
    layout.finish(layout.image("amd64", layers))
    done = images.create(
        "-n", "-o", distribution, "-t", "tar", f"{distribution}-container",
        DIB_CONTAINER_IMAGE=str(layout.root), DIB_CHECKSUM="0", DIB_CONTAINER_GROUP="none",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    with tarfile.open(images.directory / f"{distribution}.tar") as archive:
        names = {member.name for member in archive}
    assert {f"./{release}", "./usr/bin/greet"} <= names
    assert "./.dockerenv" not in names
    assert len(names) > len([*(root / "usr/bin").iterdir()])


def refused(workshop: Workshop, *texts: str, **variables: str) -> str:
    """The last lines of a bootstrap that has to fail."""
    done = workshop.create(
        "-o", "bad", "-t", "tar", "-n", "centos-minimal",
        DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=repositories(workshop, *texts), **variables,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert not (workshop.directory / "bad.tar").exists()
    return done.stdout[-3000:]


def test_a_mirror_that_does_not_answer(workshop: Workshop, system: System) -> None:
    said = refused(workshop, system.repository("http://127.0.0.1:9"))
    assert "yum-minimal: the mirror does not answer: " in said


def test_a_repository_that_is_not_there(
    workshop: Workshop, system: System, mirror: Archive
) -> None:
    said = refused(workshop, system.repository(mirror.url, "nowhere"))
    assert "yum-minimal: the repository is not there: " in said
    assert "nowhere/repodata/repomd.xml" in said


def test_a_key_that_is_not_the_repositorys(
    workshop: Workshop, system: System, mirror: Archive
) -> None:
    said = refused(workshop, system.repository(mirror.url, gpgkey=f"{mirror.url}/OTHER-KEY"))
    assert "yum-minimal: the signature is not trusted: " in said


def test_a_package_that_is_missing(workshop: Workshop, system: System, mirror: Archive) -> None:
    said = refused(
        workshop, system.repository(mirror.url),
        DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES="nothing-of-this-name",
    )  # fmt: skip
    assert "no repository has the package: No match for argument: nothing-of-this-name" in said


def test_a_package_that_breaks_off(workshop: Workshop, system: System) -> None:
    copy = workshop.directory / "copy"
    shutil.copytree(system.root / "os", copy / "os", copy_function=os.link)
    broken = copy / "os/bash-1-1.x86_64.rpm"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[:-1000])
    shutil.copy(system.key, copy)
    with served(Archive(copy)) as archive:
        said = refused(workshop, system.repository(archive.url))
    assert "yum-minimal: a download is not what the repository says: " in said
    assert "bash-1-1.x86_64.rpm" in said


def test_without_repositories_of_a_release_there_is_no_bootstrap(workshop: Workshop) -> None:
    done = workshop.create("-o", "bad", "-t", "tar", "centos-minimal", DIB_RELEASE="8-stream")
    assert done.returncode == 1
    assert "DIB_RELEASE" in done.stdout


@pytest.mark.skipif(not shutil.which("zypper"), reason="needs zypper")
def test_an_opensuse_is_made_by_zypper(workshop: Workshop, system: System, mirror: Archive) -> None:
    done = workshop.create(
        "-n", "-o", "suse", "-t", "tar", "-p", "farewell", "opensuse-minimal",
        DIB_ZYPPER_REPOS=f"oss=>{mirror.url}/os update=>{mirror.url}/updates",
        DIB_ZYPPER_GPG_KEY=str(system.key), DIB_OPENSUSE_PATTERNS="patterns-base-minimal_base less",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    with tarfile.open(workshop.directory / "suse.tar") as archive:
        names = set(archive.getnames())
        files = [archive.extractfile(f"./etc/zypp/repos.d/repo-{n}.repo") for n in REPOSITORIES]
        texts = [file.read().decode() for file in files if file]
    assert ["autorefresh=1" in text for text in texts] == [False, True]
    assert any(name.endswith("wants/NetworkManager.service") for name in names)
    assert {"./usr/bin/part", "./usr/bin/greet", "./usr/bin/zypper", "./usr/bin/less"} <= names
    assert any(name.startswith("./usr/lib/modules/6") for name in names)


@pytest.mark.skipif(not shutil.which("zypper"), reason="needs zypper")
def test_zypper_refuses_an_index_that_nobody_signed(
    workshop: Workshop, system: System, mirror: Archive
) -> None:
    done = workshop.create(
        "-n", "-o", "suse", "-t", "tar", "opensuse-minimal",
        DIB_ZYPPER_REPOS=f"oss=>{mirror.url}/strangers", DIB_ZYPPER_GPG_KEY=str(system.key),
    )  # fmt: skip
    assert done.returncode == 1
    assert "zypper-minimal: the signature is not trusted: " in done.stdout


@pytest.mark.parametrize(
    ("element", "release", "package"),
    [
        ("centos-minimal", "10-stream", "kernel"),
        ("fedora-minimal", "43", "shim-x64"),
        ("openeuler-minimal", "22.03-LTS", "grub2-efi-x64"),
        ("opensuse-minimal", "tumbleweed", "grub2-x86_64-efi"),
        ("rocky", "9", "kernel"),
        ("almalinux", "10", "NetworkManager"),
        ("fedora-container", "43", "grubby"),
        ("centos", "9-stream", "selinux-policy-targeted"),
        ("centos", "9-stream", "device-mapper-multipath"),
        ("fedora", "43", "grub2-pc"),
        ("rhel", "9", "shim-x64"),
        ("rhel", "9", "device-mapper-multipath"),
        ("opensuse", "15.6", "shim"),
    ],
)
def test_distributions_are_planned(
    workshop: Workshop, element: str, release: str, package: str
) -> None:
    done = workshop.imagebuilder("plan", "--format", "json", "vm", element, DIB_RELEASE=release)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert not plan["warnings"]
    assert package in done.stdout
    assert plan["boot_loaders"] == ["bootloader"]

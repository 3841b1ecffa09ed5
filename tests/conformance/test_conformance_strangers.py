"""Habits of other people's elements that no documentation mentions: one build with all of them."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
# What hooks do without asking whether it is theirs to do.
ROOT_HOOK = """\
cd $TARGET_ROOT
mkdir -p root/deep run/from-host
touch root/deep/x.log
chmod 0711 .
"""
LOOK_ROUND = """\
mkdir -p /seen
{ umask; pwd; } >/seen/$1
touch /seen/made
ls -d /run/* >/seen/run.$1
mkdir -p /run/$1; echo 1 >/run/$1/pid
"""
PROTECT = """\
chattr +i $TARGET_ROOT/etc/resolv.conf $TARGET_ROOT/etc/mine $TARGET_ROOT/opt/directory
chattr +a $TARGET_ROOT/var/log/app
chattr +i $TARGET_ROOT/tmp/leftover
"""


@dataclass(frozen=True)
class Built:
    """The log and the archive of the build."""

    log: str
    flags: bool  # whether `chattr` works here
    members: dict[str, tarfile.TarInfo]
    texts: dict[str, str]


@pytest.fixture(scope="module")
def built(images: Workshop) -> Built:
    flags = _flags_work(images)
    look = "/tmp/in_target.d/look/round"
    images.element("habits", {
        "environment.d/05-habits": ": ${DIB_DEFAULT_INSTALLTYPE:=rpm}; export ${!DIB_DEF*}\n",
        "environment.d/50-habits": "umask 027\ncd /tmp\n",
        "root.d/90-habits": ROOT_HOOK,
        "look/round": f"#!/bin/bash\nset -eu\n{LOOK_ROUND}",
        "pre-install.d/50-habits": f"{look} pre-install\n",
        "install.d/50-habits": f'{look} install\necho "$IMAGE_TYPE $SKIP_BASE" >/seen/strict\n'
        'echo $DIB_DEFAULT_INSTALLTYPE >/seen/type\n',
        "post-root.d/50-habits": (
            'test -d "$TMP_MOUNT_PATH/run/install"\n'
            "mkdir -p $TMP_MOUNT_PATH/opt/directory; echo x >$TMP_MOUNT_PATH/etc/mine\n"
            "echo x >$TMP_MOUNT_PATH/var/log/app; echo x >$TMP_MOUNT_PATH/tmp/leftover\n"
            "echo nameserver 192.0.2.1 >$TMP_MOUNT_PATH/etc/resolv.conf\n"
        ),
        "cleanup.d/50-habits": PROTECT if flags else "true\n",
    })  # fmt: skip
    done = images.create(
        "-n", "-t", "tar", "-o", "out", "tiny", "habits", DIB_NO_TIMESTAMP="1", DIB_NO_TMPFS="1"
    )
    assert done.returncode == 0, done.stdout
    with tarfile.open(images.directory / "out.tar") as archive:
        members = {m.name.removeprefix("./"): m for m in archive}
        texts = {
            name: file.read().decode(errors="replace")
            for name, member in members.items()
            if name.startswith(("seen/", "etc/resolv")) and (file := archive.extractfile(member))
        }
    return Built(done.stdout, flags, members, texts)


def _flags_work(images: Workshop) -> bool:
    """Whether `chattr` does something where images are built."""
    file = images.directory / "file"
    file.touch()
    works = subprocess.run(["chattr", "+i", file], check=False).returncode == 0
    return works and subprocess.run(["chattr", "-i", file], check=True).returncode == 0


def test_hooks_start_as_environment_d_has_left_its_shell(built: Built) -> None:
    for phase in ("pre-install", "install"):
        assert built.texts[f"seen/{phase}"].splitlines() == ["0027", "/tmp"]
    assert built.members["seen/made"].mode == 0o640


def test_what_a_phase_leaves_in_run_is_there_for_the_next(built: Built) -> None:
    assert "/run/from-host" in built.texts["seen/run.pre-install"].split()
    assert "/run/pre-install" in built.texts["seen/run.install"].split()


def test_directories_in_run_are_kept_for_containers_and_files_are_not(built: Built) -> None:
    assert built.members["run/pre-install"].isdir()
    assert not [
        m.name for name, m in built.members.items() if name.startswith("run/") and m.isreg()
    ]


def test_variables_that_the_driver_exports_are_there_for_strict_shells(built: Built) -> None:
    assert built.texts["seen/strict"] == "qcow2 1\n"


def test_an_element_may_have_a_default_for_the_way_to_install(built: Built) -> None:
    assert built.texts["seen/type"] == "rpm\n"


def test_the_root_directory_is_as_mkfs_makes_it(built: Built) -> None:
    assert (built.members["."].mode, built.members["."].uid) == (0o755, 0)


def test_logs_of_root_go_at_any_depth(built: Built) -> None:
    assert "root/deep" in built.members
    assert "root/deep/x.log" not in built.members


def test_what_hooks_have_made_immutable_stays_and_ends_no_build(built: Built) -> None:
    assert {"etc/mine", "opt/directory"} <= built.members.keys()
    assert "tmp/leftover" not in built.members
    assert built.members["var/log/app"].size == 0


def test_a_resolver_that_hooks_have_made_immutable_is_the_images(built: Built) -> None:
    kept = built.texts.get("etc/resolv.conf", "")
    assert kept == ("nameserver 192.0.2.1\n" if built.flags else "")


def test_the_line_about_an_image_ends_as_scripts_expect(built: Built) -> None:
    assert "\nImage file out.tar created...\n" in built.log


def test_apt_leaves_recommended_packages_out_whoever_calls_it(images: Workshop) -> None:
    """`apt-get install` in hooks brings what it brings in diskimage-builder's images."""
    root = (
        "cd $TARGET_ROOT; mkdir -p etc/apt/apt.conf.d usr/sbin var/lib/apt/lists var/cache/apt\n"
        "for name in apt-get dpkg-query; do ln -s true usr/bin/$name; done\n"
        "cp $(type -P true) usr/bin/true\n"
    )
    look = "cat /etc/apt/apt.conf.d/95disable-recommends >/seen-by-install\n"
    images.element("apt-like", {"root.d/90-apt": root, "install.d/00-look": look})
    done = images.create(
        "-n", "-t", "tar", "-o", "apt", "tiny", "dpkg", "apt-like",
        DISTRO_NAME="debian", DIB_RELEASE="bookworm",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with tarfile.open(images.directory / "apt.tar") as archive:
        for name in ("seen-by-install", "etc/apt/apt.conf.d/95disable-recommends"):
            file = archive.extractfile(f"./{name}")
            assert file
            assert b'APT::Install-Recommends "0";' in file.read()


@pytest.mark.parametrize("asked", ["1", "", "0"])
def test_hooks_of_others_find_the_packages_of_diskimage_builders_root(
    tmp_path: Path, asked: str
) -> None:
    program = tmp_path / "bin/mmdebstrap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/told\nmkdir -p {tmp_path}/root/dev\n')
    program.chmod(0o755)
    done = subprocess.run(
        [ROOT / "elements/debootstrap/root.d/08-debootstrap"],
        env={
            "PATH": f"{program.parent}:{os.environ['PATH']}", "ARCH": "amd64",
            "TARGET_ROOT": str(tmp_path / "root"), "TMP_BUILD_DIR": str(tmp_path),
            "TMP_HOOKS_PATH": str(ROOT / "elements/debootstrap"), "DIB_RELEASE": "some",
            "DIB_DISTRIBUTION_MIRROR": "http://mirror", "IMAGEBUILDER_DIB_PACKAGES": asked,
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "told").read_text()
    names = "adduser gnupg2 libpam-systemd lsb-release python3 sudo systemd-timesyncd"
    for name in names.split():
        assert (f"?exact-name({name})" in told) == (asked == "1")


@pytest.mark.parametrize("asked", ["1", "", "0"])
def test_hooks_of_others_find_the_files_of_ifupdown(tmp_path: Path, asked: str) -> None:
    root = tmp_path / "root"
    for name in ("apt/sources.list.d", "default"):
        (root / "etc" / name).mkdir(parents=True)
    for _ in range(2):
        subprocess.run(
            [ROOT / "elements/debootstrap/root.d/75-debootstrap-configure"],
            env={
                "PATH": os.environ["PATH"], "TARGET_ROOT": str(root), "DISTRO_NAME": "debian",
                "DIB_DEBOOTSTRAP_DEFAULT_LOCALE": "C.UTF-8", "IMAGEBUILDER_DIB_PACKAGES": asked,
            },
            check=True,
        )  # fmt: skip
    interfaces = root / "etc/network/interfaces"
    assert interfaces.exists() == interfaces.with_name("interfaces.d").is_dir() == (asked == "1")
    if asked == "1":
        assert interfaces.read_text().count("source /etc/network/interfaces.d/*\n") == 1

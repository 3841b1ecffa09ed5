"""What variables make single hooks of elements write, where no tree is needed for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELEMENTS = ROOT / "elements"
pytestmark = pytest.mark.tools


def run(hook: str, **variables: str) -> str:
    """What a hook prints, with these variables alone."""
    done = subprocess.run(
        [ELEMENTS / hook], env={"PATH": os.environ["PATH"], **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_inside(hook: str, root: Path, **variables: str) -> str:
    """Run a hook that is for the inside of `root` on what is there; what it printed."""
    text = (ELEMENTS / hook).read_text()
    copy = root / "hook"
    for name in ("/etc/", "/usr/sbin/", "/usr/lib/"):
        text = text.replace(name, f"{root}{name}")
    copy.write_text(text)
    path = f"{root}:{os.environ['PATH']}"
    done = subprocess.run(["bash", str(copy)], env={"PATH": path, **variables},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_debians_sources_are_those_of_its_variables() -> None:
    own = ELEMENTS / "debian-minimal/environment.d/10-debian-minimal.bash"
    find = ELEMENTS / "debian-minimal/debootstrap/find-sources"
    done = subprocess.run(
        ["bash", "-c", f'set -eu; source "{own}"; exec "{find}"'],
        env={
            "PATH": "/usr/bin:/bin", "DIB_RELEASE": "bookworm",
            "DIB_DISTRIBUTION_MIRROR": "https://not.example/d",
            "DIB_DEBIAN_DISTRIBUTION_MIRROR": "https://mirror.example/d",
            "DIB_DEBIAN_SECURITY_MIRROR": "https://mirror.example/s",
            "DIB_APT_KEYRING": "/not.gpg", "DIB_DEBIAN_KEYRING": "/keys.gpg",
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f"deb [signed-by=/keys.gpg] https://mirror.example/{place} main"
        for place in ("d bookworm", "d bookworm-updates", "s bookworm-security")
    ]


def test_the_bootstrapped_system_has_the_locale_that_is_wanted(tmp_path: Path) -> None:
    for name in ("etc/default", "etc/apt/sources.list.d"):
        (tmp_path / name).mkdir(parents=True)
    run(
        "debootstrap/root.d/75-debootstrap-configure", TARGET_ROOT=str(tmp_path),
        DISTRO_NAME="debian", DIB_DEBOOTSTRAP_DEFAULT_LOCALE="de_DE.UTF-8",
    )  # fmt: skip
    assert (tmp_path / "etc/default/locale").read_text() == "LANG=de_DE.UTF-8\n"
    assert (tmp_path / "etc/hostname").read_text() == "debian\n"


@pytest.mark.parametrize(("value", "written"), [("1", True), ("0", False)])
def test_interfaces_ask_for_addresses_unless_told_otherwise(
    tmp_path: Path, value: str, *, written: bool
) -> None:
    (tmp_path / "etc/systemd/network").mkdir(parents=True)
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    run_inside(
        "debootstrap/post-install.d/20-debootstrap-network", tmp_path,
        DIB_APT_MINIMAL_CREATE_INTERFACES=value, DIB_NETWORK_INTERFACE_NAMES="lan0 wan*",
    )  # fmt: skip
    profile = tmp_path / "etc/systemd/network/80-dhcp.network"
    assert profile.exists() == written
    assert not written or "\nName=lan0 wan*\n" in profile.read_text()


SOURCES = """\
URIs: http://archive.ubuntu.com/ubuntu/
URIs: http://security.ubuntu.com/ubuntu/
URIs: http://archive.ubuntu.com/ubuntu # theirs
URIs: https://ppa.example/ubuntu
"""


@pytest.mark.parametrize("file", ["sources.list", "sources.list.d/ubuntu.sources"])
def test_ubuntus_published_image_uses_the_mirror(tmp_path: Path, file: str) -> None:
    apt = tmp_path / "etc/apt"
    for name in ("sources.list.d", "apt.conf.d"):
        (apt / name).mkdir(parents=True)
    (apt / file).write_text(SOURCES)
    run_inside(
        "ubuntu/pre-install.d/01-set-ubuntu-mirror", tmp_path,
        DIB_DISTRIBUTION_MIRROR="https://mirror.example/u",
        DIB_DISTRIBUTION_MIRROR_UBUNTU_IGNORE="theirs|not there",
    )  # fmt: skip
    mirrored = "URIs: https://mirror.example/u/"
    kept = SOURCES.splitlines()[2:]
    assert (apt / file).read_text().splitlines() == [mirrored, mirrored, *kept]
    assert not [*(apt / "apt.conf.d").iterdir()]


UNSIGNED = [
    'APT::Get::AllowUnauthenticated "true";',
    'Acquire::AllowInsecureRepositories "true";',
]


@pytest.mark.parametrize(
    ("mirror", "insecure", "verify", "expected"),
    [
        ("https://m.example/u", "", "0", ['Acquire::https::Verify-Peer "false";']),
        ("http://m.example/u", "", "0", []),
        ("http://m.example/u", "1", "1", UNSIGNED),
    ],
)
def test_a_mirror_may_be_trusted_without_a_signature_or_certificate(
    tmp_path: Path, mirror: str, insecure: str, verify: str, expected: list[str]
) -> None:
    (tmp_path / "etc/apt/apt.conf.d").mkdir(parents=True)
    run_inside(
        "ubuntu/pre-install.d/01-set-ubuntu-mirror", tmp_path, DIB_DISTRIBUTION_MIRROR=mirror,
        DIB_DISTRIBUTION_MIRROR_UBUNTU_INSECURE=insecure,
        DIB_DISTRIBUTION_MIRROR_VERIFY_HTTPS=verify,
    )  # fmt: skip
    conf = tmp_path / "etc/apt/apt.conf.d/95allow-unauthenticated"
    assert (conf.read_text().splitlines() if conf.exists() else []) == expected


@pytest.mark.parametrize(("value", "new"), [("0", False), ("1", True)])
def test_an_installer_starts_the_new_kernel_if_that_is_wanted(
    tmp_path: Path, value: str, *, new: bool
) -> None:
    media, root = tmp_path / "media", tmp_path / "root"
    for name in (media / "boot/grub", media / "casper", root / "boot", root / "etc"):
        name.mkdir(parents=True)
    menu = "menuentry a {\n  linux /casper/vmlinuz quiet\n  initrd /casper/initrd\n}\n"
    (media / "boot/grub/grub.cfg").write_text(menu)
    (root / "etc/debian_version").touch()
    for name, theirs in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
        (media / "casper" / theirs).write_text("old")
        (root / f"boot/{name}-6.1.0-10-test").write_text("new")
    run(
        "installer-iso/media.d/20-installer-iso-kernel", TARGET_MEDIA=str(media),
        TARGET_ROOT=str(root), TMP_HOOKS_PATH=str(ELEMENTS / "iso-medium"),
        _LIB=str(ROOT / "imagebuilder/lib"), DIB_ISO_NEW_KERNEL=value, DISTRO_NAME="ubuntu",
    )  # fmt: skip
    texts = {(media / "casper" / name).read_text() for name in ("vmlinuz", "initrd")}
    assert texts == {"new" if new else "old"}


def test_a_live_systems_menu_has_its_title_and_arguments() -> None:
    menu = run(
        "live-iso/live-iso/menu", DIB_LIVE_TITLE="Rescue 'disk' 1", DIB_LIVE_DIRECTORY="live",
        DIB_ISO_TIMEOUT="3", DIB_ISO_KERNEL_ARGS="quiet",
    )  # fmt: skip
    assert "menuentry 'Rescue disk 1' {\n    linux /live/vmlinuz boot=live quiet\n" in menu
    assert menu.startswith("set timeout=3\n")


@pytest.mark.parametrize("table", ["mbr", "gpt", "efi"])
def test_hooks_know_the_table_by_the_layout_or_by_the_caller(table: str) -> None:
    file = ELEMENTS / f"block-device-{table}/environment.d/15-block-device-{table}"
    said = f'set -eu; source "{file}"; echo "$DIB_BLOCK_DEVICE"'

    def known(**given: str) -> str:
        environment = {"PATH": os.environ["PATH"], "ARCH": "amd64", **given}
        return subprocess.run(["bash", "-c", said], env=environment, capture_output=True,
                              text=True, check=True).stdout.strip()  # fmt: skip

    assert (known(), known(DIB_BLOCK_DEVICE="mine")) == (table, "mine")

"""Which package sources the elements of Debian's family find, by their variables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ELEMENTS = Path(__file__).parents[2] / "elements"
COMMON = ELEMENTS / "ubuntu-common/environment.d/10-ubuntu-common.bash"
UBUNTU = ELEMENTS / "ubuntu-minimal"
SCRIPT = 'set -eu; source "$1"; source "$2"; exec "$3"'
KEYRING = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
pytestmark = pytest.mark.tools


def ubuntu(**variables: str) -> list[str]:
    """The lines of ubuntu-minimal."""
    own = UBUNTU / "environment.d/11-ubuntu-minimal.bash"
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "-", COMMON, own, UBUNTU / "debootstrap/find-sources"],
        env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_ubuntu_takes_all_pockets_from_its_archive() -> None:
    line = f"deb [signed-by={KEYRING}] http://archive.ubuntu.com/ubuntu resolute{{}} main universe"
    pockets = ("", "-updates", "-security", "-backports")
    assert ubuntu(ARCH="amd64") == [line.format(pocket) for pocket in pockets]


@pytest.mark.parametrize("arch", ["arm64", "armhf", "ppc64el", "s390x", "riscv64"])
def test_other_architectures_are_in_the_archive_of_ports(arch: str) -> None:
    assert {line.split()[2] for line in ubuntu(ARCH=arch)} == {
        "http://ports.ubuntu.com/ubuntu-ports"
    }


def test_mirror_release_pockets_components_and_keyring_are_the_users() -> None:
    assert ubuntu(
        ARCH="arm64",
        DIB_DISTRIBUTION_MIRROR="https://mirror.example/ubuntu",
        DIB_RELEASE="noble",
        DIB_UBUNTU_MIRROR_DISTS="updates proposed",
        DIB_DEBIAN_COMPONENTS="main,restricted",
        DIB_APT_KEYRING="/srv/keys.gpg",
    ) == [
        f"deb [signed-by=/srv/keys.gpg] https://mirror.example/ubuntu {suite} main restricted"
        for suite in ("noble", "noble-updates", "noble-proposed")
    ]


def test_no_pockets_may_be_wanted() -> None:
    assert len(ubuntu(ARCH="amd64", DIB_UBUNTU_MIRROR_DISTS=",")) == 1


@pytest.mark.parametrize(
    ("sources", "given", "expected"),
    [
        ("URIs: https://a.example/d\nURIs: https://b.example/s\n", "", "https://a.example/d"),
        ("URIs: https://a.example/d\n", "https://c.example/d", "https://c.example/d"),
        (None, "", "https://l.example/d"),
    ],
)
def test_hooks_for_debian_know_the_mirror_once_there_is_a_system(
    tmp_path: Path, sources: str | None, given: str, expected: str
) -> None:
    assert debian(tmp_path, "") == " main extra\n"  # while there is none
    place = tmp_path / "etc/apt/sources.list.d"
    place.mkdir(parents=True)
    (tmp_path / "etc/os-release").touch()
    (place / "own.list").write_text("# own\ndeb [trusted=yes] https://l.example/d amber main\n")
    if sources:
        (place / "debian.sources").write_text(f"Types: deb\n{sources}")
    assert debian(tmp_path, given) == f"{expected} main extra\n"


def debian(tree: Path, mirror: str) -> str:
    """The mirror and the components that hooks find."""
    said = 'set -eu; source "$1"; echo "$DIB_DISTRIBUTION_MIRROR $DIB_DEBIAN_COMPONENTS_WS"'
    own = ELEMENTS / "debian-minimal/environment.d/10-debian-minimal.bash"
    done = subprocess.run(
        ["bash", "-c", said, "-", own],
        env={
            "PATH": "/usr/bin:/bin", "TMP_MOUNT_PATH": str(tree),
            "DIB_DISTRIBUTION_MIRROR": mirror, "DIB_DEBIAN_COMPONENTS": "main,extra",
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_an_element_without_sources_of_its_own_gets_the_mirror_and_the_release(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [ELEMENTS / "debootstrap/debootstrap/sources"],
        env={
            "PATH": "/usr/bin:/bin", "TMP_BUILD_DIR": str(tmp_path), "DIB_RELEASE": "amber",
            "DIB_DISTRIBUTION_MIRROR": "https://mirror.example/a", "DIB_APT_KEYRING": "/k.gpg",
            "DIB_DEBIAN_COMPONENTS": "main,extra",
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "deb [signed-by=/k.gpg] https://mirror.example/a amber main extra\n"


@pytest.mark.parametrize(("kept", "languages"), [("0", True), ("1", False)])
def test_descriptions_are_left_out_unless_lists_stay(
    tmp_path: Path, kept: str, *, languages: bool
) -> None:
    program = tmp_path / "apt-get"
    program.write_text('#!/bin/bash\necho "$*"\n')
    program.chmod(0o755)
    called = subprocess.run(
        [str(ELEMENTS / "dpkg/bin/install-packages"), "-e", "something"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "DIB_DISABLE_APT_CLEANUP": kept},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert called.endswith(" remove something\n")
    assert ("-o Acquire::Languages=none" in called) == languages


def test_a_system_without_apt_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ELEMENTS / "dpkg/bin/install-packages"), "something"],
        env={"PATH": str(tmp_path), "DISTRO_NAME": "rocky"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("install-packages: rocky has no apt-get (hint: ")

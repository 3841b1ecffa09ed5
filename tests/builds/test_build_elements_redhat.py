"""What the elements of Red Hat's family and SUSE's leave in the image; programs are stand-ins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from stand_ins import build, refused, stand_ins

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
ELEMENTS = ROOT / "elements"
SUDOERS = 'Defaults requiretty\nDefaults !visiblepw\nDefaults    secure_path = "/sbin:/usr/bin"\n'
STREAM = "https://mirrors.centos.org/metalink?repo=centos-{}-$stream&arch=$basearch&protocol=https"
MIRROR = "https://mirror.example/centos"


def run(program: Path, **given: str) -> str:
    """What a program of an element prints, run by itself."""
    environment = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run(
        ["bash", str(program)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def exported(element: str, *names: str, **given: str) -> list[str]:
    """What an element's `environment.d` makes of variables."""
    (source,) = (ELEMENTS / element / "environment.d").iterdir()
    said = f'set -eu; source "{source}"; ' + "; ".join(f'echo "${name}"' for name in names)
    environment = {"PATH": os.environ["PATH"], "ARCH": "amd64", **given}
    done = subprocess.run(
        ["bash", "-c", said], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def repositories(directory: Path, **texts: str) -> Path:
    place = directory / "etc/yum.repos.d"
    place.mkdir(parents=True)
    for name, text in texts.items():
        (place / f"{name}.repo").write_text(text)
    return place


def test_sudo_wants_no_terminal_and_finds_programs_of_the_builders(workshop: Workshop) -> None:
    stand_ins(workshop, own=f"cat >$TARGET_ROOT/etc/sudoers <<'END'\n{SUDOERS}END\n")
    expected = (
        "# Defaults requiretty\n# Defaults !visiblepw\n"
        'Defaults    secure_path = "/sbin:/usr/bin:/usr/local/bin"\n'
    )
    image = build(workshop, "rpm-distro")
    assert image.texts["etc/sudoers"] == expected
    assert image.texts["etc/sysconfig/network"] == "NOZEROCONF=yes\n"
    stand_ins(workshop, own=f"cat >$TARGET_ROOT/etc/sudoers <<'END'\n{expected}END\n")
    assert build(workshop, "rpm-distro").texts["etc/sudoers"] == expected


def test_selinux_is_permissive_whenever_its_policy_was_installed(workshop: Workshop) -> None:
    stand_ins(workshop)
    policy = "mkdir /etc/selinux\necho SELINUX=enforcing >/etc/selinux/config\n"
    workshop.element("policy", {"install.d/50-policy": policy})
    image = build(workshop, "selinux-permissive", "policy")
    assert image.texts["etc/selinux/config"] == "SELINUX=permissive\nSELINUXTYPE=targeted\n"


def test_an_initramfs_of_dracut_without_iscsi_is_refused(workshop: Workshop) -> None:
    stand_ins(workshop)
    assert "add the element dracut-regenerate" in refused(workshop, "iscsi-boot")
    of_debian = {"environment.d/20-x": "export DISTRO_NAME=debian\n"}
    workshop.element("debian-like", of_debian)
    build(workshop, "iscsi-boot", "debian-like")


def test_zypper_accepts_keys_and_users_get_groups_of_their_own(workshop: Workshop) -> None:
    defaults = "echo USERGROUPS_ENAB no >$TARGET_ROOT/etc/login.defs\n"
    no_rpm = "printf '#!/bin/bash\\n[ \"$1\" != -q ]\\n' >$TARGET_ROOT/usr/bin/rpm\n"
    stand_ins(workshop, "zypper", own=f"{defaults}{no_rpm}chmod +x $TARGET_ROOT/usr/bin/rpm\n")
    (workshop.directory / "elements/stand-ins/bin/install-packages").unlink()
    workshop.element("installs", {"install.d/50-installs": "install-packages one\n"})
    image = build(workshop, "zypper", "installs")
    assert image.texts["etc/login.defs"] == "USERGROUPS_ENAB yes\n"
    assert image.called == [
        "zypper --non-interactive --gpg-auto-import-keys install --no-recommends one"
    ]


def test_tumbleweed_is_known_in_any_case() -> None:
    names = ("DIB_RELEASE", "DIB_ZYPPER_REPOS")
    release, addresses = exported("opensuse-minimal", *names, DIB_RELEASE="Tumbleweed")
    assert release == "tumbleweed"
    assert addresses.endswith("update=>https://download.opensuse.org/update/tumbleweed/")


@pytest.mark.parametrize("release", ["9", "9-stream"])
def test_a_release_of_centos_may_be_named_by_its_number(release: str) -> None:
    (address,) = exported("centos", "DIB_CLOUD_IMAGES", DIB_RELEASE=release)
    assert address == "https://cloud.centos.org/centos/9-stream/x86_64/images"


def test_the_published_centos_uses_a_mirror(tmp_path: Path) -> None:
    lists = "".join(
        f"[{name}]\nmetalink={STREAM.format(name)}\n"
        for name in ("baseos", "baseos-debug", "crb", "extras-sig-extras-common")
    )
    place = repositories(tmp_path, centos=lists)
    hook = ELEMENTS / "centos/root.d/76-centos-mirror"
    run(hook, TARGET_ROOT=str(tmp_path))
    assert (place / "centos.repo").read_text() == lists
    run(hook, TARGET_ROOT=str(tmp_path), DIB_DISTRIBUTION_MIRROR=f"{MIRROR}/")
    assert (place / "centos.repo").read_text() == (
        f"[baseos]\nbaseurl={MIRROR}/$stream/BaseOS/$basearch/os/\n"
        f"[baseos-debug]\nmetalink={STREAM.format('baseos-debug')}\n"
        f"[crb]\nbaseurl={MIRROR}/$stream/CRB/$basearch/os/\n"
        "[extras-sig-extras-common]\n"
        f"baseurl={MIRROR}/SIGs/$stream/extras/$basearch/extras-common/\n"
    )


def test_the_published_fedora_uses_a_mirror_for_what_a_mirror_has(tmp_path: Path) -> None:
    path = "releases/$releasever/Everything/$basearch/os/"
    here = f"[fedora]\n#baseurl=http://download.example/pub/fedora/linux/{path}\n"
    place = repositories(
        tmp_path, fedora=f"{here}metalink=https://m.example/fedora\n", other="[x]\nmetalink=y\n"
    )
    hook = ELEMENTS / "fedora/root.d/76-fedora-mirror"
    given = {"TARGET_ROOT": str(tmp_path), "TMP_HOOKS_PATH": str(ELEMENTS / "redhat-common")}
    run(hook, **given, DIB_DISTRIBUTION_MIRROR="https://mirror.example/fedora/linux/")
    fedora = (place / "fedora.repo").read_text()
    assert fedora == f"[fedora]\nbaseurl=https://mirror.example/fedora/linux/{path}\n"
    assert (place / "other.repo").read_text() == "[x]\nmetalink=y\n"


@pytest.mark.parametrize("element", ["almalinux-container", "rocky-container"])
def test_a_container_gets_the_group_of_a_machine(tmp_path: Path, element: str) -> None:
    program = tmp_path / "dnf"
    program.write_text('#!/bin/bash\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    hook = ELEMENTS / "rpm-container/pre-install.d/05-container-group"
    (group,) = exported(element, "DIB_CONTAINER_GROUP")
    said = run(hook, YUM=str(program), DIB_CONTAINER_GROUP=group)
    assert said == "-y|group|install|--allowerasing|Minimal Install|"
    assert exported(element, "DIB_CONTAINER_GROUP", DIB_CONTAINER_GROUP="none") == ["none"]
    assert not run(hook, YUM=str(program), DIB_CONTAINER_GROUP="none")


def test_packages_of_an_image_on_another_disk_stay_as_they_are() -> None:
    names = ("DIB_AVOID_PACKAGES_UPDATE", "DIB_SKIP_GRUB_PACKAGE_INSTALL")
    assert exported("replace-partition", *names) == ["1", "True"]
    given = dict.fromkeys(names, "0")
    assert exported("replace-partition", *names, **given) == ["0", "0"]

"""What the variables of elements do for Red Hat's family and SUSE's; programs are stand-ins."""

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
RPM = """\
cat >$TARGET_ROOT/usr/bin/rpm <<'END'
#!/bin/bash
echo "rpm $*" >>/called
case "$*" in
    *kernel-core) printf '6.1-9.x86_64\\n6.1-11.x86_64\\n6.1-10.x86_64\\n' ;;
    "-qa kernel*-"*) echo "kernel-core-${2#*-}"; echo "kernel-modules-${2#*-}" ;;
    -qa*) ;;
    -q*) exit 1 ;;
esac
END
chmod +x $TARGET_ROOT/usr/bin/rpm
"""


def rpm_alone(workshop: Workshop, *programs: str) -> None:
    """Stand-ins for dnf and rpm; `install-packages` is the real one."""
    stand_ins(workshop, "dnf", *programs, own=RPM)
    (workshop.directory / "elements/stand-ins/bin/install-packages").unlink()
    workshop.environment["YUM"] = "dnf"


def calls(called: list[str], program: str) -> list[str]:
    return [line for line in called if line.startswith(f"{program} ") and "--version" not in line]


def test_packages_and_streams_bring_more_repositories(workshop: Workshop) -> None:
    rpm_alone(workshop)
    image = build(
        workshop, "yum", DIB_YUM_REPO_PACKAGE="https://r.example/a.rpm b-release",
        DIB_DNF_MODULE_STREAMS="nodejs:20 php:8.2",
    )  # fmt: skip
    assert calls(image.called, "dnf")[:5] == [
        "dnf -y install https://r.example/a.rpm b-release",
        "dnf -y module disable nodejs", "dnf -y module enable nodejs:20",
        "dnf -y module disable php", "dnf -y module enable php:8.2",
    ]  # fmt: skip


def test_repositories_of_the_builder_are_there_during_the_build_alone(workshop: Workshop) -> None:
    rpm_alone(workshop)
    (workshop.directory / "own.repo").write_text("[own]\n")
    (workshop.directory / "theirs.repo").write_text("[ours]\n")
    workshop.element("has-one", {
        "root.d/60-has": "cd $TARGET_ROOT/etc; mkdir yum.repos.d\n"
        "echo '[theirs]' >yum.repos.d/theirs.repo\n",
        "install.d/50-looks": "cat /etc/yum.repos.d/*.repo >/seen\n",
    })  # fmt: skip
    files = f"{workshop.directory}/own.repo {workshop.directory}/theirs.repo"
    texts = build(workshop, "yum", "has-one", DIB_YUM_REPO_CONF=files).texts
    assert texts["seen"] == "[own]\n[ours]\n"
    left = {name: text for name, text in texts.items() if name.startswith("etc/yum.repos.d/")}
    assert left == {"etc/yum.repos.d/theirs.repo": "[theirs]\n"}
    text = refused(workshop, "yum", DIB_YUM_REPO_CONF="/no/x.repo")
    assert "DIB_YUM_REPO_CONF: there is no file '/no/x.repo'" in text


def test_packages_that_a_hook_has_ruled_out_are_not_installed(workshop: Workshop) -> None:
    rpm_alone(workshop)
    workshop.element("rules", {
        "install.d/40-rules": "echo dkms >/tmp/yum-blacklist\n",
        "install.d/50-installs": "install-packages dkms wanted\n",
    })  # fmt: skip
    image = build(workshop, "yum", "rules", YUM_FLAGS="-y --quick")
    assert "dnf -y --quick install wanted" in image.called


@pytest.mark.parametrize(("value", "kept"), [("0", False), ("1", True)])
def test_old_kernels_go_unless_they_are_to_stay(
    workshop: Workshop, value: str, *, kept: bool
) -> None:
    rpm_alone(workshop)
    image = build(workshop, "redhat-common", "yum", DIB_DISABLE_KERNEL_CLEANUP=value)
    erased = [line for line in calls(image.called, "rpm") if line.startswith("rpm -e")]
    gone = [f"rpm -e kernel-core-6.1-{n}.x86_64 kernel-modules-6.1-{n}.x86_64" for n in (9, 10)]
    assert erased == ([] if kept else gone)


WORD = "word"
REGISTERED = "subscription-manager register "


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"REG_MACHINE_NAME": "web", "REG_ENVIRONMENT": "prod", "REG_RELEASE": "9.4"},
            "--name=web --environment=prod --release=9.4 --username=me --password=word",
        ),
        (
            {"REG_SERVER_URL": "rhsm.example", "REG_BASE_URL": "https://cdn.example"},
            "--serverurl=rhsm.example --baseurl=https://cdn.example --username=me --password=word",
        ),
        (
            {"REG_TYPE": "hypervisor", "REG_FORCE": "true", "REG_AUTO_ATTACH": "true",
             "REG_SERVICE_LEVEL": "premium"},
            "--type=hypervisor --force --auto-attach --servicelevel=premium --username=me"
            " --password=word",
        ),
        (
            {"REG_FORCE": "0", "REG_SERVICE_LEVEL": "premium"}, "--username=me --password=word",
        ),
    ],
)  # fmt: skip
def test_a_registration_is_as_its_variables_say(
    workshop: Workshop, given: dict[str, str], expected: str
) -> None:
    stand_ins(workshop, "subscription-manager")
    image = build(workshop, "rhel-common", **given, REG_METHOD="portal", REG_USER="me",
                  REG_PASSWORD=WORD, REG_POOL_ID="p1", REG_HALT_UNREGISTER="1")  # fmt: skip
    assert image.called == [REGISTERED + expected, "subscription-manager attach --pool=p1"]


def test_a_satellite_is_trusted_by_its_certificate(workshop: Workshop) -> None:
    stand_ins(workshop, "subscription-manager", "rpm")
    given = {"REG_METHOD": "satellite", "REG_ORG": "we", "REG_ACTIVATION_KEY": "key"}
    url = "https://sat.example/"
    image = build(workshop, "rhel-common", **given, REG_SAT_URL=url, REG_SAT_CERT="own.rpm")
    assert image.called[:2] == [
        "rpm -Uvh --replacepkgs --oldpackage https://sat.example/pub/own.rpm",
        f"{REGISTERED}--org=we --activationkey=key",
    ]  # fmt: skip
    image = build(workshop, "rhel-common", **given, REG_SAT_URL=url)
    assert image.called[0].endswith("/pub/katello-ca-consumer-latest.noarch.rpm")
    assert "REG_SAT_URL is not set" in refused(workshop, "rhel-common", **given)


def test_automatic_updates_of_dnf_are_as_the_builder_says(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl")
    settings = workshop.directory / "settings"
    settings.write_text("[commands]\n")
    image = build(workshop, "autoupdates", DIB_YUM_UPDATES_CONF=str(settings), DISTRO_NAME="x")
    assert image.texts["etc/dnf/automatic.conf"] == "[commands]\n"
    assert "systemctl enable dnf-automatic.timer" in image.called


@pytest.mark.parametrize(("given", "flavour"), [({}, "GenericCloud"), ({"DIB_FLAVOR": "x"}, "x")])
def test_the_published_centos_may_be_of_another_flavour(
    given: dict[str, str], flavour: str
) -> None:
    source = ROOT / "elements/centos/environment.d/10-centos.bash"
    said = f'set -eu; source "{source}"; echo "$BASE_IMAGE_FILE"'
    done = subprocess.run(
        ["bash", "-c", said], env={"PATH": os.environ["PATH"], "ARCH": "amd64", **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"CentOS-Stream-{flavour}-9-latest.x86_64.qcow2\n"


def test_a_node_of_openstacks_ci_may_have_repositories_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mirror_info.sh").touch()
    for release in ("default", "9-stream"):
        (tmp_path / f"repos/centos-minimal/{release}/yum.repos.d").mkdir(parents=True)
    hooks = tmp_path / "environment.d"
    hooks.mkdir()
    name = "11-dib-distribution-mirror.bash"
    text = (ROOT / "elements/openstack-ci-mirrors/environment.d" / name).read_text()
    (hooks / name).write_text(text)
    said = f'set -u; source "{hooks / name}"; echo "$DIB_YUM_MINIMAL_BOOTSTRAP_REPOS"'

    def told(release: str) -> str:
        given = {"DISTRO_NAME": "centos", "DIB_RELEASE": release,
                 "DIB_OS_CI_YUM_REPOS": f"{tmp_path}/repos"}  # fmt: skip
        done = subprocess.run(["bash", "-c", said], env={"PATH": os.environ["PATH"], **given},
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout.strip()

    assert told("9-stream") == f"{tmp_path}/repos/centos-minimal/9-stream/yum.repos.d"
    assert told("10-stream") == f"{tmp_path}/repos/centos-minimal/default/yum.repos.d"


@pytest.mark.parametrize(("value", "there"), [("0", False), ("1", True)])
def test_networkmanager_asks_for_addresses_on_two_interfaces_if_that_is_wanted(
    tmp_path: Path, value: str, *, there: bool
) -> None:
    hook = ROOT / "elements/yum-minimal/install.d/10-base-networking"
    script = tmp_path / "hook"
    script.write_text(hook.read_text().replace("/etc/", f"{tmp_path}/etc/"))
    given = {"PATH": os.environ["PATH"], "DIB_YUM_MINIMAL_CREATE_INTERFACES": value}
    subprocess.run(["bash", str(script)], env=given, check=True)
    profiles = tmp_path / "etc/NetworkManager/system-connections"
    assert profiles.is_dir() == there
    network = (tmp_path / "etc/sysconfig/network").read_text()
    assert network == "NETWORKING=yes\nNETWORKING_IPV6=yes\n"
    if there:
        assert sorted(path.name for path in profiles.iterdir()) == [
            "eth0.nmconnection", "eth1.nmconnection",
        ]  # fmt: skip
        assert "interface-name=eth1\n" in (profiles / "eth1.nmconnection").read_text()


def test_repositories_besides_the_distributions_are_used(tmp_path: Path) -> None:
    for name in ("own/9-stream", "extra"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "own/9-stream/a.repo").write_text("[a]\nbaseurl=https://a.example/$releasever\n")
    (tmp_path / "extra/b.repo").write_text("[b]\nbaseurl=https://b.example/$releasever\n")
    program = ROOT / "elements/yum-minimal/yum-minimal/repositories"
    given = {
        "PATH": os.environ["PATH"], "DIB_RELEASE": "9-stream", "DISTRO_NAME": "centos",
        "TMP_HOOKS_PATH": str(tmp_path), "DIB_YUM_MINIMAL_EXTRA_REPOS": str(tmp_path / "extra"),
    }  # fmt: skip
    (tmp_path / "own").rename(tmp_path / "yum.repos.d")
    into = tmp_path / "into"
    subprocess.run([program, into], env=given, check=True)
    assert (into / "a.repo").read_text().endswith("https://a.example/9\n")
    assert (into / "b.repo").read_text().endswith("https://b.example/9\n")
    done = subprocess.run([program, into], env={**given, "DIB_YUM_MINIMAL_EXTRA_REPOS": "/none"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "DIB_YUM_MINIMAL_EXTRA_REPOS must be a directory of *.repo files" in done.stderr

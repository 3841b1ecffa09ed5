"""Elements that configure machines, laid over a tiny root; programs they call are stand-ins."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from stand_ins import KERNELS, build, refused, stand_ins

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
REPOSITORY = "etc/yum.repos.d/elrepo.repo"


def test_many_elements_write_their_settings(workshop: Workshop) -> None:
    cloud = "mkdir -p $TARGET_ROOT/etc/cloud; printf ' - growpart\\n - resizefs\\n - mounts\\n' "
    stand_ins(workshop, "systemctl", own=f"{cloud}>$TARGET_ROOT/etc/cloud/cloud.cfg\n")
    settings = workshop.directory / "settings"
    settings.write_text("mine\n")
    image = build(
        workshop, "journal-to-console", "disable-nouveau", "cloud-init-growpart",
        "cloud-init-disable-resizefs", "fail2ban", "autoupdates", "tpm-emulator",
        "dib-run-parts", "enable-serial-console", "runtime-ssh-host-keys",
        DIB_CLOUD_INIT_GROWPART_DEVICES="['/']", DIB_FAIL2BAN_CONF=str(settings),
        DIB_DEB_UPDATES_CONF=str(settings), DISTRO_NAME="x",
    )  # fmt: skip
    texts = image.texts
    journal = texts["etc/systemd/journald.conf.d/log-to-console.conf"]
    assert journal == "[Journal]\nForwardToConsole=true\n"
    assert "blacklist nouveau" in texts["etc/modprobe.d/disable-nouveau.conf"]
    assert "  devices: ['/']\n" in texts["etc/cloud/cloud.cfg.d/55-growpart.cfg"]
    assert texts["etc/cloud/cloud.cfg"] == " - mounts\n"
    assert texts["etc/fail2ban/jail.local"] == "mine\n"
    assert texts["etc/apt/apt.conf.d/50unattended-upgrades"] == "mine\n"
    assert "swtpm socket" in texts["usr/lib/systemd/system/tpm_server.service"]
    dropin = texts["etc/systemd/system/tpm2-abrmd.service.d/50-tpm-emulator.conf"]
    assert "--tcti=swtpm:host=127.0.0.1,port=2321" in dropin
    assert texts["usr/local/bin/dib-run-parts"].startswith("#!/bin/bash")
    assert "ssh-keygen -A" in texts["usr/lib/systemd/system/runtime-ssh-host-keys.service"]
    units = ("fail2ban.service", "unattended-upgrades.service", "serial-getty@ttyS0.service",
             "tpm_server.service tpm2-abrmd.service", "runtime-ssh-host-keys.service")  # fmt: skip
    assert {f"systemctl enable {unit}" for unit in units} <= set(image.called)
    installed = " ".join(line for line in image.called if line.startswith("install-packages"))
    assert {"fail2ban", "swtpm", "tpm2-tools"} <= set(installed.split())


@pytest.mark.parametrize(
    ("element", "variables"),
    [
        ("fail2ban", {"DIB_FAIL2BAN_CONF": "/no/such"}),
        ("autoupdates", {"DIB_DEB_UPDATES_CONF": "/no/such"}),
        ("cloud-init-growpart", {}),
    ],
)
def test_what_an_element_needs_is_named(
    workshop: Workshop, element: str, variables: dict[str, str]
) -> None:
    stand_ins(workshop, "systemctl")
    text = refused(workshop, element, **variables)
    assert next(iter(variables), "DIB_CLOUD_INIT_GROWPART_DEVICES") in text
    assert "hint: " in text


def test_all_interfaces_are_configured_by_networkd(workshop: Workshop) -> None:
    known = (
        "cd $TARGET_ROOT/etc; mkdir -p network/interfaces.d udev/rules.d\n"
        "echo 'auto eth0' >network/interfaces; touch network/interfaces.d/eth0\n"
        "ln -s /dev/null udev/rules.d/80-net-setup-link.rules\n"
    )
    stand_ins(workshop, "systemctl", own=known)
    image = build(workshop, "dhcp-all-interfaces", "stable-interface-names", DIB_DHCP_TIMEOUT="99")
    network = image.texts["etc/systemd/network/70-dhcp-all-interfaces.network"]
    assert "Type=ether infiniband\nKind=!*\n" in network
    assert "DHCP=yes" in network
    waiter = "etc/systemd/system/systemd-networkd-wait-online.service.d/60-dhcp-all-interfaces.conf"
    assert "--any --timeout=99" in image.texts[waiter]
    assert "systemctl enable systemd-networkd.service" in image.called
    assert "eth0" not in image.texts["etc/network/interfaces"]
    assert "etc/network/interfaces.d/eth0" not in image.texts
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert "./etc/udev/rules.d/80-net-setup-link.rules" not in tar.getnames()


def test_all_interfaces_are_configured_by_networkmanager_where_it_is(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl", own="mkdir -p $TARGET_ROOT/etc/NetworkManager\n")
    image = build(workshop, "dhcp-all-interfaces", DIB_DHCP_CLIENT="dhclient")
    settings = image.texts["etc/NetworkManager/conf.d/00-dhcp-all-interfaces.conf"]
    assert "dhcp=dhclient\n" in settings
    assert "ipv4.dhcp-timeout=30\n" in settings
    assert image.called[-1] == "systemctl enable NetworkManager.service"


PYTHON = """\
cat >$TARGET_ROOT/usr/bin/python3 <<'END'
#!/bin/bash
echo "python3 $*" >>/called
mkdir -p $3/bin
for program in pip glean glean.sh glean-install; do cp /usr/bin/systemctl $3/bin/$program; done
END
chmod +x $TARGET_ROOT/usr/bin/python3
"""


def test_glean_is_installed_instead_of_cloud_init(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl", "glean-install", own=PYTHON)
    image = build(workshop, "simple-init", DIB_SIMPLE_INIT_NO_DHCP_FALLBACK="1")
    called = [line for line in image.called if not line.startswith(("systemctl", "ssh"))]
    assert called[0].startswith("install-packages ")
    assert called[1:] == [
        "python3 -m venv /usr/glean", "pip install --no-cache-dir glean",
        "glean-install --no-dhcp-fallback", "install-packages -e cloud-init",
    ]  # fmt: skip
    assert image.texts["etc/modules-load.d/simple-init.conf"] == "8021q\n"
    assert "usr/local/bin/glean.sh" not in image.texts
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert tar.getmember("./usr/local/bin/glean.sh").linkname == "/usr/glean/bin/glean.sh"


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_glean_can_come_from_a_repository(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl", "glean-install", own=PYTHON)
    origin = workshop.directory / "glean"
    for words in (("init", "--quiet", str(origin)), ("commit", "--quiet", "--allow-empty", "-mx")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *words],
                       cwd=origin if origin.exists() else None, check=True)  # fmt: skip
    image = build(workshop, "simple-init", DIB_INSTALLTYPE_simple_init="repo",
                  DIB_REPOLOCATION_glean=str(origin), DIB_REPOREF_glean="HEAD")  # fmt: skip
    assert "pip install --no-cache-dir /tmp/glean.git" in image.called
    assert image.texts["etc/dib-source-repositories"] == "/tmp/glean.git\n"


def test_root_logs_in_with_what_the_command_line_says(workshop: Workshop, tmp_path: Path) -> None:
    ssh = "mkdir -p $TARGET_ROOT/etc/ssh; touch $TARGET_ROOT/etc/ssh/sshd_config\n"
    stand_ins(workshop, "systemctl", own=ssh)
    image = build(workshop, "dynamic-login")
    assert "systemctl enable dynamic-login.service" in image.called
    program = tmp_path / "dynamic-login"
    text = image.texts["usr/local/bin/dynamic-login"].replace("/root/", f"{tmp_path}/root/")
    program.write_text(text)
    noted = tmp_path / "chpasswd"
    noted.write_text(f"#!/bin/sh\ncat >{tmp_path}/password\n")
    noted.chmod(0o755)
    coded = base64.b64encode(b"$6$salt$hash").decode()
    for line, password in (
        ('quiet rootpwd=$6$a$b sshkey="ssh-ed25519 AAAA me" ro', "$6$a$b"),
        (f'rootpwd="{coded}" "sshkey=ssh-ed25519 AAAA me" ro', "$6$salt$hash"),
    ):
        (tmp_path / "cmdline").write_text(line)
        environment = {"CMDLINE": f"{tmp_path}/cmdline", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", str(program)], env=environment, check=True)
        assert (tmp_path / "password").read_text() == f"root:{password}\n"
        keys = tmp_path / "root/.ssh/authorized_keys"
        assert keys.read_text() == "ssh-ed25519 AAAA me\n"
        assert keys.stat().st_mode & 0o777 == 0o600


def test_kernel_and_initramfs_lie_beside_the_image(workshop: Workshop) -> None:
    stand_ins(workshop, own=KERNELS)
    image = build(workshop, "baremetal", "cleanup-kernel-initrd")
    vmlinuz, initrd = (workshop.directory / f"out.{name}" for name in ("vmlinuz", "initrd"))
    assert vmlinuz.read_text() == "vmlinuz 6.1.0-10-test\n"
    assert initrd.read_text() == "initrd.img 6.1.0-10-test\n"
    assert vmlinuz.stat().st_mode & 0o777 == 0o644
    boot = sorted(name for name in image.texts if name.startswith("boot/"))
    assert boot == [f"boot/{name}-6.1.0-10-test"
                    for name in ("System.map", "config", "initrd.img", "vmlinuz")]  # fmt: skip


def test_modules_are_built_for_kernels_with_headers(workshop: Workshop) -> None:
    own = (
        "mkdir -p $TARGET_ROOT/usr/lib/modules/{1-with,2-with,3-without} $TARGET_ROOT/h\n"
        "ln -s /h $TARGET_ROOT/usr/lib/modules/1-with/build\n"
        "ln -s /h $TARGET_ROOT/usr/lib/modules/2-with/build\n"
        "cat >$TARGET_ROOT/usr/bin/dkms <<'END'\n#!/bin/bash\n"
        "if [ $1 = status ]; then echo 'one/1.0: added'; echo 'two, 2.0, 1-with, x: installed'\n"
        'else echo "dkms $* ${ARCH:-}" >>/called; fi\nEND\nchmod +x $TARGET_ROOT/usr/bin/dkms\n'
    )
    stand_ins(workshop, own=own)
    called = build(workshop, "dkms").called
    assert [line.strip() for line in called] == ["install-packages dkms"] + [
        f"dkms install {module} -k {kernel}"
        for module in ("one/1.0", "two/2.0") for kernel in ("1-with", "2-with")
    ]  # fmt: skip


def test_fips_mode_is_set_up_or_refused(workshop: Workshop) -> None:
    stand_ins(workshop, "fips-mode-setup")
    assert build(workshop, "fips").called[-1] == "fips-mode-setup --enable"
    workshop.element("as-debian", {"environment.d/50": "export DISTRO_NAME=debian\n"})
    text = refused(workshop, "fips", "as-debian")
    assert "FIPS mode cannot be set up in an image of debian" in text


def test_growvols_is_started_at_boot_if_that_is_wanted(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl")
    image = build(workshop, "growvols")
    assert "usr/local/sbin/growvols" in image.texts
    assert "etc/default/growvols" not in image.texts
    image = build(workshop, "growvols", DIB_GROWVOLS_TRIGGER="systemd",
                  DIB_GROWVOLS_ARGS="/var=80% /home=20%")  # fmt: skip
    assert 'GROWVOLS_ARGS="/var=80% /home=20%"\n' in image.texts["etc/default/growvols"]
    assert "systemctl enable growvols.service" in image.called
    assert "manual, systemd" in refused(workshop, "growvols", DIB_GROWVOLS_TRIGGER="cron")


def test_an_element_may_set_what_another_requires(workshop: Workshop) -> None:
    stand_ins(workshop)
    sources = "etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg"
    image = build(workshop, "cloud-init-nocloud")
    assert image.texts[sources] == "datasource_list: [NoCloud, None]\n"
    assert "DIB_CLOUD_INIT_DATASOURCES is not set" in refused(workshop, "cloud-init-datasources")


@pytest.mark.parametrize(
    ("named", "listed", "more"),
    [
        ("OpenStack", "OpenStack, None", []),
        ("Ec2,None", "Ec2,None", ["92-ec2-datasource.cfg"]),
        ("ConfigDrive, OpenStack", "ConfigDrive, OpenStack, None",
         ["93-dib-cloud-init-disable-datasource-network-activation.cfg"]),
    ],
)  # fmt: skip
def test_some_data_sources_of_cloud_init_need_more_than_their_name(
    workshop: Workshop, named: str, listed: str, more: list[str]
) -> None:
    stand_ins(workshop)
    image = build(workshop, "cloud-init-datasources", DIB_CLOUD_INIT_DATASOURCES=named)
    settings = {name.rsplit("/", 1)[1]: text for name, text in image.texts.items()
                if name.startswith("etc/cloud/")}  # fmt: skip
    assert settings.pop("91-dib-cloud-init-datasources.cfg") == f"datasource_list: [{listed}]\n"
    assert [*settings] == more


def test_red_hats_family_keeps_the_curl_that_it_has(workshop: Workshop) -> None:
    """A minimal curl of its own would be in the way of the package `curl`."""
    stand_ins(workshop)
    for distribution, expected in (("centos", False), ("debian", True)):
        workshop.element("like", {"environment.d/50-like": f"export DISTRO_NAME={distribution}\n"})
        called = build(workshop, "cache-url", "pkg-map", "like").called
        assert ("install-packages curl" in called) == expected


def test_machines_of_other_kinds_are_left_alone(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl")
    image = build(workshop, "epel", "ibft-interfaces", "selinux-permissive", "disable-selinux")
    assert "epel: there is none for tiny" in image.log
    assert not [name for name in image.texts if name.startswith("etc/selinux")]
    assert "iscsi_ibft" in image.texts["etc/modules-load.d/ibft.conf"]
    assert "systemctl enable init-ibft-interfaces.service" in image.called


def test_epel_is_added_and_taken_from_a_mirror(workshop: Workshop) -> None:
    repository = (
        "[epel]\nenabled=1\n#baseurl=https://download.example/pub/epel/9/$basearch\n"
        "metalink=https://mirrors.example/epel\n"
    )
    brings = f"mkdir -p $TARGET_ROOT/etc/yum.repos.d; printf '{repository}' "
    stand_ins(workshop, "dnf", "crb", own=f"{brings} >$TARGET_ROOT/etc/yum.repos.d/epel.repo\n")
    is_rhel = "export DISTRO_NAME=rhel DIB_RELEASE=9.4\n"
    workshop.element("as-rhel", {"environment.d/90-rhel.bash": is_rhel})
    mirror = "http://mirror.example/epel"
    image = build(workshop, "as-rhel", "epel", DIB_EPEL_MIRROR=mirror)
    assert image.called == [
        "dnf install -y https://dl.fedoraproject.org/pub/epel/epel-release-latest-9.noarch.rpm",
        "crb enable",
    ]
    assert image.texts["etc/yum.repos.d/epel.repo"] == (
        "[epel]\nenabled=1\nbaseurl=http://mirror.example/epel/9/$basearch\n"
    )
    image = build(workshop, "as-rhel", "epel", DIB_EPEL_DISABLED="1")
    assert "enabled=0\n#baseurl=https://download" in image.texts["etc/yum.repos.d/epel.repo"]


def test_elrepo_is_for_enterprise_linux_and_its_kernels_are_asked_for(workshop: Workshop) -> None:
    off = "enabled=0\n\n"
    repository = f"[elrepo]\nenabled=1\n\n[elrepo-kernel]\n{off}[elrepo-extras]\n{off}"
    own = f"mkdir -p $(dirname {REPOSITORY}); echo -n '{repository}' >{REPOSITORY}\n"
    stand_ins(workshop, "dnf", own=f"cd $TARGET_ROOT; {own}")
    workshop.element("rocky-like", {"environment.d/20-x": "export DISTRO_NAME=rocky\n"})
    image = build(workshop, "elrepo", "rocky-like")
    assert image.called == ["dnf install -y elrepo-release"]
    assert image.texts[REPOSITORY] == repository
    image = build(workshop, "elrepo", "rocky-like", DIB_ELREPO_KERNEL="1")
    assert image.texts[REPOSITORY] == repository.replace("kernel]\nenabled=0", "kernel]\nenabled=1")
    assert "elrepo: there is none for tiny" in refused(workshop, "elrepo")


def test_lvm_is_its_programs_and_dracut_network_is_nothing(workshop: Workshop) -> None:
    stand_ins(workshop)
    assert "install-packages lvm2" in build(workshop, "lvm", "dracut-network").called


def test_red_hats_images_on_another_disk_know_where_their_boot_loader_is() -> None:
    name = "09-replace-partition-redhat.bash"
    script = 'set -eu; source "$0"; echo "$EFI_BOOT_DIR $DIB_RELEASE $DIB_BLOCK_DEVICE"'
    source = ROOT / "elements/replace-partition-redhat/environment.d" / name

    def told(distribution: str) -> str:
        given = {"PATH": os.environ["PATH"], "DISTRO_NAME": distribution}
        argv = ["bash", "-c", script, str(source)]
        done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.strip()

    assert (told("rhel"), told("centos")) == ("EFI/redhat 9 efi", "EFI/centos 9 efi")
    assert "DISTRO_NAME is not set" in told("")


def test_pip_has_a_cache_on_the_host_while_the_image_is_built(workshop: Workshop) -> None:
    stand_ins(workshop)
    workshop.element("fetches", {"install.d/50-fetch": "echo wheel >$PIP_CACHE_DIR/wheel\n"})
    image = build(workshop, "pip-cache", "fetches")
    (kept,) = (workshop.directory / ".cache").rglob("pip/wheel")
    assert kept.read_text() == "wheel\n"
    assert not any("wheel" in name for name in image.texts)


def test_modules_are_blacklisted_by_the_older_name_too(workshop: Workshop) -> None:
    stand_ins(workshop)
    image = build(workshop, "modprobe-blacklist", DIB_MODPROBE_BLACKLIST="floppy pcspkr")
    lines = "".join(
        text for name, text in image.texts.items() if name.startswith("etc/modprobe.d/")
    )
    assert {"blacklist floppy", "blacklist pcspkr"} <= set(lines.splitlines())

"""Elements that configure machines, laid over a tiny root; programs they call are stand-ins."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
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


KERNELS = """\
touch $TARGET_ROOT/etc/debian_version
for version in 6.1.0-9-test 6.1.0-10-test; do
    for name in vmlinuz initrd.img System.map config; do
        echo $name $version >$TARGET_ROOT/boot/$name-$version
    done
done
"""


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


RUNTIME = """\
#!/bin/bash
# Knows images that hold the directory beside this program.
echo "$*" >>"$(dirname "$0")/calls"
case "$1" in
    create) echo the-container ;;
    export) tar -C "$(dirname "$0")/root" -c . ;;
esac
"""


@pytest.fixture
def runtime(workshop: Workshop) -> Path:
    """The directory of a stand-in for podman and docker, and the tree that it exports."""
    directory = workshop.directory / "runtime"
    for name in ("root/usr/bin", "root/etc", "root/lib64", "root/tmp"):
        (directory / name).mkdir(parents=True)
    (directory / "root/etc/made-by").write_text("container\n")
    for name in ("podman", "docker"):
        (directory / name).write_text(RUNTIME)
        (directory / name).chmod(0o755)
    workshop.environment["PATH"] = f"{directory}:{os.environ['PATH']}"
    return directory


def contained(workshop: Workshop, *words: str, **variables: str) -> str:
    """The log of a build that has to succeed."""
    done = workshop.create("-n", "-t", "tar", "-o", "out", *words, **variables)
    assert done.returncode == 0, done.stdout
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert "./etc/made-by" in tar.getnames()
    return done.stdout


def test_a_containerfile_of_an_element_becomes_the_root(workshop: Workshop, runtime: Path) -> None:
    element = workshop.element("my-os", {
        "element-deps": "containerfile\n", "containerfiles/9": "FROM scratch\n",
        "environment.d/10-my-os": "export DISTRO_NAME=mine DIB_RELEASE=${DIB_RELEASE:-9}\n",
    })  # fmt: skip
    contained(workshop, "my-os", DIB_CONTAINERFILE_BUILDOPTS="--squash --pull")
    calls = (runtime / "calls").read_text().splitlines()
    image = calls[0].split()[4]
    context = f"{workshop.directory}/.cache/image-create/containerfile"
    assert calls == [
        f"build --network host -t {image} -f {element}/containerfiles/9 --squash --pull {context}",
        f"create {image} /bin/sh", "export the-container", "rm the-container", f"rmi {image}",
    ]  # fmt: skip
    done = workshop.create("-n", "my-os", DIB_RELEASE="8")
    assert done.returncode == 1
    assert "there is no Containerfile" in done.stdout
    assert "DIB_CONTAINERFILE_DOCKERFILE" in done.stdout


def test_a_docker_image_becomes_the_root(workshop: Workshop, runtime: Path) -> None:
    contained(workshop, "docker", DIB_DOCKER_IMAGE="registry.example/base:1")
    assert (runtime / "calls").read_text().splitlines() == [
        "create registry.example/base:1 /bin/sh", "export the-container", "rm the-container",
    ]  # fmt: skip


LOADERS = """\
cd $TARGET_ROOT
mkdir -p usr/lib/ISOLINUX usr/lib/syslinux/modules/bios usr/lib/shim usr/lib/grub/x86_64-efi-signed
head -c 40000 /dev/zero >usr/lib/ISOLINUX/isolinux.bin
echo ldlinux >usr/lib/syslinux/modules/bios/ldlinux.c32
echo shim >usr/lib/shim/shimx64.efi.signed
echo grub >usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
"""
ISO_TOOLS = ("xorriso", "mkfs.vfat", "mcopy", "mmd")


@pytest.mark.skipif(not all(map(shutil.which, ISO_TOOLS)), reason=f"needs {', '.join(ISO_TOOLS)}")
def test_an_iso_has_kernel_ramdisk_and_both_ways_to_start(
    workshop: Workshop, tmp_path: Path
) -> None:
    stand_ins(workshop, own=KERNELS + LOADERS)
    words = ("baremetal", "iso", "no-final-image")
    build(workshop, *words, DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="quiet")
    iso = workshop.directory / "out-boot.iso"
    first = hashlib.sha256(iso.read_bytes()).hexdigest()
    build(workshop, *words, DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="quiet")
    assert hashlib.sha256(iso.read_bytes()).hexdigest() == first

    def xorriso(*words: str) -> str:
        done = subprocess.run(["xorriso", "-indev", str(iso), *words],
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout

    report = xorriso("-report_el_torito", "plain", "-pvd_info")
    assert "BIOS" in report
    assert "UEFI" in report
    assert "VMEDIA_BOOT_ISO" in report
    xorriso("-osirrox", "on", "-extract", "/", str(tmp_path / "content"))
    content = tmp_path / "content"
    assert (content / "vmlinuz").read_text() == "vmlinuz 6.1.0-10-test\n"
    assert (content / "initrd").read_text() == "initrd.img 6.1.0-10-test\n"
    arguments = "root=LABEL=cloudimg-rootfs quiet"
    assert arguments in (content / "isolinux/isolinux.cfg").read_text()
    copy = ["mcopy", "-i", str(content / "efi.img"), "::/EFI/debian/grub.cfg", "-"]
    grub = subprocess.run(copy, capture_output=True, text=True, check=True).stdout
    assert f"linux /vmlinuz {arguments}" in grub
    assert "--label VMEDIA_BOOT_ISO" in grub


@pytest.mark.skipif(not all(map(shutil.which, ISO_TOOLS)), reason=f"needs {', '.join(ISO_TOOLS)}")
def test_an_iso_of_a_ramdisk_starts_with_its_own_arguments(
    workshop: Workshop, tmp_path: Path
) -> None:
    stand_ins(workshop, own=LOADERS)
    ramdisk = "echo kernel >$IMAGE_NAME.kernel; echo initramfs >$IMAGE_NAME.initramfs\n"
    workshop.element("my-ramdisk", {"cleanup.d/50-ramdisk": ramdisk})
    build(workshop, "iso", "my-ramdisk", DIB_DEPLOY_ISO_KERNEL_CMDLINE_ARGS="ipa-debug=1",
          DIB_BOOT_ISO_KERNEL_CMDLINE_ARGS="not-these")  # fmt: skip
    config = tmp_path / "isolinux.cfg"
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", "out.iso", "-extract", "/isolinux/isolinux.cfg",
         str(config)], cwd=workshop.directory, capture_output=True, check=True,
    )  # fmt: skip
    assert "APPEND initrd=/initrd boot_method=vmedia ipa-debug=1\n" in config.read_text()


def test_an_iso_without_a_kernel_is_refused(workshop: Workshop) -> None:
    if not all(map(shutil.which, ISO_TOOLS)):
        pytest.skip(f"needs {', '.join(ISO_TOOLS)}")
    stand_ins(workshop, own=LOADERS)
    assert "there is no kernel and ramdisk (hint: add baremetal" in refused(workshop, "iso")


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

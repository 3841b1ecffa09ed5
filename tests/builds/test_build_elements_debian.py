"""What the variables of elements do: for the boot loader, users, services and package managers."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from stand_ins import Image, build, refused, stand_ins

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]


def installed(image: Image) -> set[str]:
    """Everything that `install-packages` was called with."""
    lines = [line for line in image.called if line.startswith("install-packages")]
    return set(" ".join(lines).split())


def test_base_brings_packages_up_to_date_unless_they_are_to_stay(workshop: Workshop) -> None:
    stand_ins(workshop)
    image = build(workshop, "base", DIB_SKIP_BASE_PACKAGE_INSTALL="0")
    assert image.called == ["install-packages -u"]
    image = build(workshop, "base", DIB_AVOID_PACKAGES_UPDATE="1")
    assert image.called == []


def test_base_tells_cloud_init_what_to_do_with_hosts(workshop: Workshop) -> None:
    stand_ins(workshop)
    name = "etc/cloud/cloud.cfg.d/10_etc_hosts.cfg"
    assert name not in build(workshop, "base").texts
    image = build(workshop, "base", DIB_CLOUD_INIT_ETC_HOSTS="localhost")
    assert image.texts[name] == "manage_etc_hosts: localhost\n"


GRUB = """\
cd $TARGET_ROOT
mkdir -p etc/default etc/grub.d
echo 'GRUB_DISTRIBUTOR=Mine' >etc/default/grub
echo 'GRUB_CMDLINE_LINUX="quiet console=tty7 boot=UUID=1"' >>etc/default/grub
cat >usr/bin/grub-mkconfig <<'END'
#!/bin/bash
echo "search --fs-uuid $(grub-probe --target=fs_uuid /boot); root=LABEL=$DIB_ROOT_LABEL" >$2
END
printf '#!/bin/bash\\n' | tee usr/bin/grub-probe >usr/bin/grub-script-check
chmod +x usr/bin/grub-*
"""
USUAL = "nofb nomodeset gfxpayload=text"


def grub(workshop: Workshop, more: str = "") -> None:
    """Stand-ins for GRUB; there is no disk to install it on."""
    stand_ins(workshop, own=GRUB + more)
    installs = "mkdir -p /tmp/grub; touch /tmp/grub/install\n"
    workshop.element("stand-ins", {"finalise.d/60-installed": installs})


def grub_settings(workshop: Workshop, **variables: str) -> tuple[dict[str, str], Image]:
    """The lines of `/etc/default/grub` by their keys, and the image."""
    image = build(workshop, "bootloader", **variables)
    lines = image.texts["etc/default/grub"].splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert len(settings) == len(lines)
    return {key: value.strip('"') for key, value in settings.items()}, image


def test_grub_has_both_consoles_and_a_menu_unless_told_otherwise(workshop: Workshop) -> None:
    grub(workshop)
    settings, image = grub_settings(workshop, ARCH="amd64")
    assert settings == {
        "GRUB_DISTRIBUTOR": "Mine",
        "GRUB_CMDLINE_LINUX": "quiet ",
        "GRUB_CMDLINE_LINUX_DEFAULT": (f"console=tty0 console=ttyS0,115200 no_timer_check {USUAL}"),
        "GRUB_TERMINAL": "serial console",
        "GRUB_SERIAL_COMMAND": "serial --speed=115200 --unit=0",
        "GRUB_TIMEOUT": "5",
        "GRUB_TIMEOUT_STYLE": "menu",
        "GRUB_DEVICE": "LABEL=cloudimg-rootfs",
        "GRUB_DISABLE_LINUX_UUID": "true",
        "GRUB_DISABLE_LINUX_PARTUUID": "true",
        "GRUB_DISABLE_OS_PROBER": "true",
    }
    assert "grub-cloud-amd64" in installed(image)


@pytest.mark.parametrize(
    ("variables", "arguments", "others"),
    [
        (
            {"DIB_BOOTLOADER_SERIAL_CONSOLE": "ttyS1,9600", "DIB_NO_TIMER_CHECK": "False"},
            f"console=tty0 console=ttyS1,9600 {USUAL}",
            {"GRUB_SERIAL_COMMAND": "serial --speed=9600 --unit=1"},
        ),
        (
            {"DIB_BOOTLOADER_USE_SERIAL_CONSOLE": "False", "DIB_BOOTLOADER_VIRTUAL_TERMINAL": ""},
            f"no_timer_check {USUAL}",
            {"GRUB_TERMINAL": "console"},
        ),
        (
            {"DIB_BOOTLOADER_VIRTUAL_TERMINAL": "tty1", "DIB_BOOTLOADER_DEFAULT_CMDLINE": "ro"},
            "console=tty1 console=ttyS0,115200 no_timer_check ro",
            {},
        ),
        (
            {"DIB_GRUB_TIMEOUT": "0", "DIB_GRUB_TIMEOUT_STYLE": "hidden"},
            f"console=tty0 console=ttyS0,115200 no_timer_check {USUAL}",
            {"GRUB_TIMEOUT": "0", "GRUB_TIMEOUT_STYLE": "hidden"},
        ),
    ],
)
def test_grub_is_configured_by_variables(
    workshop: Workshop, variables: dict[str, str], arguments: str, others: dict[str, str]
) -> None:
    grub(workshop)
    settings, _ = grub_settings(workshop, **variables)
    assert settings["GRUB_CMDLINE_LINUX_DEFAULT"] == arguments
    assert others.items() <= settings.items()


def test_grubs_packages_may_be_there_already(workshop: Workshop) -> None:
    grub(workshop)
    settings, image = grub_settings(workshop, DIB_SKIP_GRUB_PACKAGE_INSTALL="True")
    assert not [name for name in installed(image) if "grub" in name]
    assert settings["GRUB_TIMEOUT"] == "5"


def test_the_kernel_is_told_of_fips_mode_and_where_it_lies_itself(workshop: Workshop) -> None:
    fips = "printf '#!/bin/bash\\nexit 1\\n' >usr/bin/fips-mode-setup; chmod +x usr/bin/fips*\n"
    grub(workshop, fips)
    workshop.element("boot-apart", {"environment.d/90-x": "export DIB_BOOT_LABEL=boot\n"})
    image = build(workshop, "bootloader", "boot-apart")
    assert f'{USUAL} fips=1"' in image.texts["etc/default/grub"]
    dracut = "cp $TARGET_ROOT/usr/bin/{fips-mode-setup,dracut}\n"
    workshop.element("with-dracut", {"root.d/60-dracut": dracut})
    image = build(workshop, "bootloader", "boot-apart", "with-dracut")
    assert f'{USUAL} boot=LABEL=boot fips=1"' in image.texts["etc/default/grub"]


def test_a_login_is_on_the_serial_console_that_grub_has(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl")
    image = build(workshop, "enable-serial-console", DIB_BOOTLOADER_SERIAL_CONSOLE="ttyS2,9600")
    assert image.called == ["systemctl enable serial-getty@ttyS2.service"]


@pytest.mark.parametrize(("value", "allowed"), [("", False), ("0", False), ("1", True)])
def test_cloud_init_allows_passwords_if_that_is_wanted(
    workshop: Workshop, value: str, *, allowed: bool
) -> None:
    stand_ins(workshop, "systemctl")
    image = build(workshop, "cloud-init", DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH=value)
    text = image.texts.get("etc/cloud/cloud.cfg.d/50_ssh_pwauth.cfg")
    assert text == ("ssh_pwauth: true\n" if allowed else None)


LOGIN = "correct horse"
USERS = """\
cat >$TARGET_ROOT/usr/bin/useradd <<'END'
#!/bin/bash
echo "useradd $*" >>/called
echo "${!#}:x:1000:1000::/home/${!#}:/bin/bash" >>/etc/passwd
echo "${!#}:x:1000:" >>/etc/group
mkdir -p "/home/${!#}"
END
cat >$TARGET_ROOT/usr/bin/chpasswd <<'END'
#!/bin/bash
echo "chpasswd $(cat)" >>/called
END
cat >$TARGET_ROOT/usr/bin/getent <<'END'
#!/bin/bash
grep "^$2:" "/etc/$1"
END
chmod +x $TARGET_ROOT/usr/bin/{useradd,chpasswd,getent}
"""


def test_devuser_is_one_with_a_key_of_the_builders(workshop: Workshop) -> None:
    stand_ins(workshop, "usermod", own=USERS)
    keys = workshop.directory / ".ssh/id_ed25519.pub"
    keys.parent.mkdir()
    keys.write_text("ssh-ed25519 AAAA builder\n")
    image = build(workshop, "devuser")
    assert "useradd --create-home --user-group --shell /bin/bash devuser" in image.called
    assert image.texts["home/devuser/.ssh/authorized_keys"] == "ssh-ed25519 AAAA builder\n"
    assert not [line for line in image.called if line.startswith(("usermod", "chpasswd"))]
    assert "etc/sudoers.d/devuser" not in image.texts


def test_devuser_is_as_its_variables_say(workshop: Workshop) -> None:
    stand_ins(workshop, "usermod", own=USERS)
    keys = workshop.directory / "keys"
    keys.write_text("ssh-ed25519 AAAA other\n")
    image = build(
        workshop, "devuser", "-x",
        DIB_DEV_USER_USERNAME="ann", DIB_DEV_USER_GROUPS="adm,disk", DIB_DEV_USER_SHELL="/bin/sh",
        DIB_DEV_USER_PWDLESS_SUDO="yes", DIB_DEV_USER_AUTHORIZED_KEYS=str(keys),
        DIB_DEV_USER_PASSWORD=LOGIN,
    )  # fmt: skip
    assert image.called[-3:] == [
        "useradd --create-home --user-group --shell /bin/sh ann",
        "usermod --append --groups adm,disk ann",
        f"chpasswd ann:{LOGIN}",
    ]
    assert image.texts["etc/sudoers.d/ann"] == "ann ALL=(ALL) NOPASSWD:ALL\n"
    assert image.texts["home/ann/.ssh/authorized_keys"] == "ssh-ed25519 AAAA other\n"
    assert LOGIN not in image.log
    with tarfile.open(workshop.directory / "out.tar") as tar:
        assert tar.getmember("./etc/sudoers.d/ann").mode == 0o440
        owned = tar.getmember("./home/ann/.ssh/authorized_keys")
        assert (owned.uid, owned.mode) == (1000, 0o600)


def test_keys_that_are_not_there_are_named(workshop: Workshop) -> None:
    stand_ins(workshop)
    text = refused(workshop, "devuser", DIB_DEV_USER_AUTHORIZED_KEYS="/no/keys")
    assert "DIB_DEV_USER_AUTHORIZED_KEYS: there is no file '/no/keys'" in text


@pytest.mark.parametrize(("user", "owner"), [("root", 0), ("ann", 1000), ("later", 0)])
def test_the_builders_keys_let_a_user_in(workshop: Workshop, user: str, owner: int) -> None:
    stand_ins(workshop, own="echo ann:x:1000:1000::/home/ann:/bin/sh >>$TARGET_ROOT/etc/passwd\n")
    keys = workshop.directory / ".ssh/authorized_keys"
    keys.parent.mkdir()
    keys.write_text("ssh-ed25519 AAAA me\n")
    build(workshop, "local-config", DIB_LOCAL_CONFIG_USERNAME=user)
    home = "root" if user == "root" else f"home/{user}"
    with tarfile.open(workshop.directory / "out.tar") as tar:
        member = tar.getmember(f"./{home}/.ssh/authorized_keys")
    assert (member.uid, member.mode) == (owner, 0o600)


def test_package_managers_get_the_builders_proxies(workshop: Workshop) -> None:
    own = (
        "cd $TARGET_ROOT/etc; mkdir -p apt dnf sysconfig\necho '[main]' >dnf/dnf.conf\n"
        'printf \'PROXY_ENABLED="no"\\nHTTP_PROXY=""\\nHTTPS_PROXY=""\\nNO_PROXY="x"\\n\''
        " >sysconfig/proxy\n"
    )
    stand_ins(workshop, own=own)
    proxy = "http://proxy.example:3128"
    texts = build(workshop, "local-config", http_proxy=proxy, no_proxy="a.example, b.example").texts
    assert texts["etc/apt/apt.conf.d/02-use-http-proxy"] == f'Acquire::http::Proxy "{proxy}";\n'
    assert texts["etc/apt/apt.conf.d/02-no-proxy"] == (
        'Acquire::http::Proxy::a.example "DIRECT";\nAcquire::http::Proxy::b.example "DIRECT";\n'
    )
    assert texts["etc/dnf/dnf.conf"] == f"[main]\nproxy={proxy}\n"
    assert texts["etc/sysconfig/proxy"] == (
        f'PROXY_ENABLED="yes"\nHTTP_PROXY="{proxy}"\nHTTPS_PROXY=""\n'
        'NO_PROXY="a.example, b.example"\n'
    )


@pytest.mark.parametrize(("value", "harder"), [("1", True), ("0", False)])
def test_sshd_is_stricter_unless_told_otherwise(
    workshop: Workshop, value: str, *, harder: bool
) -> None:
    ssh = "mkdir -p $TARGET_ROOT/etc/ssh; echo UsePAM yes >$TARGET_ROOT/etc/ssh/sshd_config\n"
    stand_ins(workshop, "systemctl", own=ssh)
    texts = build(workshop, "openssh-server", DIB_OPENSSH_SERVER_HARDENING=value).texts
    settings = texts.get("etc/ssh/sshd_config.d/10-hardening.conf", "")
    assert ("PermitEmptyPasswords no\n" in settings) == harder
    assert texts["etc/ssh/sshd_config"].startswith("Include ") == harder


def test_elements_are_listed_where_that_is_wanted(workshop: Workshop) -> None:
    stand_ins(workshop)
    image = build(workshop, "element-manifest", DIB_ELEMENT_MANIFEST_PATH="/opt/elements")
    assert "element-manifest" in image.texts["opt/elements"].splitlines()
    assert "etc/dib-manifests/dib-element-manifest" not in image.texts
    image = build(workshop, "element-manifest")
    assert "tiny" in image.texts["etc/dib-manifests/dib-element-manifest"].splitlines()


def test_growvols_may_be_told_a_group_and_a_disk(workshop: Workshop) -> None:
    stand_ins(workshop, "systemctl")
    image = build(workshop, "growvols", DIB_GROWVOLS_TRIGGER="systemd", DIB_GROWVOLS_GROUP="vg",
                  DIB_GROWVOLS_DEVICE="sdb")  # fmt: skip
    assert image.texts["etc/default/growvols"] == (
        'GROWVOLS_ARGS=""\nGROWVOLS_GROUP="vg"\nGROWVOLS_DEVICE="sdb"\n'
    )


@pytest.mark.parametrize(("value", "kept"), [("0", False), ("1", True)])
def test_pips_cache_goes_unless_it_is_to_stay(
    workshop: Workshop, value: str, *, kept: bool
) -> None:
    own = "mkdir -p $TARGET_ROOT/root/.cache/pip; echo x >$TARGET_ROOT/root/.cache/pip/wheel\n"
    stand_ins(workshop, "python3", own=own)
    image = build(workshop, "pip-and-virtualenv", DIB_DISABLE_PIP_CLEANUP=value)
    assert ("root/.cache/pip/wheel" in image.texts) == kept


@pytest.mark.parametrize("value", ["", "1"])
def test_pip_may_be_kept_from_the_index_itself(workshop: Workshop, value: str) -> None:
    stand_ins(workshop)
    workshop.element("looks", {"install.d/50-look": "cat /root/.pip/pip.conf >/pip.conf\n"})
    mirror = "https://pypi.example/simple"
    text = build(workshop, "pypi", "looks", DIB_PYPI_MIRROR_URL=mirror,
                 DIB_NO_PYPI_PIP=value).texts["pip.conf"]  # fmt: skip
    if value:
        assert f"\nindex-url = {mirror}\n" in text
        assert "extra-index-url" not in text
    else:
        assert f"extra-index-url =\n    {mirror}\n" in text
        assert "\nindex-url" not in text


def test_glean_may_configure_networkmanager(workshop: Workshop) -> None:
    python = 'printf "#!/bin/bash\\nmkdir -p \\$3/bin; cp /usr/bin/systemctl \\$3/bin/pip\\n"'
    own = f"{python} >$TARGET_ROOT/usr/bin/python3; chmod +x $TARGET_ROOT/usr/bin/python3\n"
    stand_ins(workshop, "systemctl", "glean-install", own=own)
    image = build(workshop, "simple-init", DIB_SIMPLE_INIT_NETWORKMANAGER="1")
    assert "glean-install --use-nm" in image.called
    assert "NetworkManager" in installed(image)


APT = "mkdir -p $TARGET_ROOT/{usr/sbin,var/lib/apt/lists,var/cache/apt}\n"


def apt_alone(workshop: Workshop) -> None:
    """Stand-ins for apt; `install-packages` is the real one."""
    stand_ins(workshop, "apt-get", "dpkg-query", own=APT)
    (workshop.directory / "elements/stand-ins/bin/install-packages").unlink()


def test_apt_trusts_the_keyrings_of_a_directory(workshop: Workshop) -> None:
    apt_alone(workshop)
    keys = workshop.directory / "keys"
    (keys / "deeper").mkdir(parents=True)
    for name in ("one.gpg", "deeper/two.asc", "README"):
        (keys / name).write_text(name)
    image = build(workshop, "dpkg", DIB_ADD_APT_KEYS=str(keys))
    found = {name for name in image.texts if name.startswith("etc/apt/trusted.gpg.d/")}
    assert found == {f"etc/apt/trusted.gpg.d/{name}" for name in ("one.gpg", "two.asc")}
    text = refused(workshop, "dpkg", DIB_ADD_APT_KEYS="/no/keys")
    assert "DIB_ADD_APT_KEYS: '/no/keys' is not a directory" in text


@pytest.mark.parametrize(("value", "cached"), [("1", True), ("0", False)])
def test_packages_come_through_the_cache_unless_told_otherwise(
    workshop: Workshop, value: str, *, cached: bool
) -> None:
    apt_alone(workshop)
    look = 'cat "${APT_CONFIG:-/dev/null}" >/apt.conf\n'
    workshop.element("looks", {"install.d/50-look": look})
    image = build(workshop, "dpkg", "looks", DIB_APT_LOCAL_CACHE=value)
    assert ("Dir::Bin::Methods::http " in image.texts["apt.conf"]) == cached


RUNTIME = """\
#!/bin/bash
echo "$*" >>"$(dirname "$0")/calls"
case "$1" in
    create) echo the-container ;;
    export) mkdir -p "$(dirname "$0")/root/usr"; tar -C "$(dirname "$0")/root" -c . ;;
esac
"""


def test_a_containerfile_is_built_as_its_variables_say(workshop: Workshop) -> None:
    directory = workshop.directory
    runtime = directory / "nerdctl"
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    workshop.environment["PATH"] = f"{directory}:{os.environ['PATH']}"
    (directory / "Dockerfile").write_text("FROM scratch\n")
    done = workshop.create(
        "-n", "-t", "tar", "-o", "out", "containerfile", DISTRO_NAME="mine", DIB_RELEASE="9",
        DIB_CONTAINERFILE_DOCKERFILE=f"{directory}/Dockerfile",
        DIB_CONTAINERFILE_RUNTIME="nerdctl", DIB_CONTAINERFILE_NETWORK_DRIVER="none",
        DIB_CONTAINERFILE_RUNTIME_ROOT="1", DIB_CONTAINERFILE_PODMAN_ROOT="1",
        DIB_CONTAINER_CONTEXT=f"{directory}/context",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    built = (directory / "calls").read_text().splitlines()[0]
    assert built.startswith("build --network none -t ")
    assert built.endswith(f"-f {directory}/Dockerfile {directory}/context")

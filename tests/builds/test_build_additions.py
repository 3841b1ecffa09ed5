"""Elements that others name among their dependencies, in the smallest system."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
ROOT = Path(__file__).parents[2]
HASH = "$6$salt$3EZwFxhSRGZzEXQ6W0cPqVLuwbcuHfIP4ya"  # of nothing: its form is all that matters
RECORDS = {  # programs that write down what they are called with
    "usr/bin/dracut": 'echo "$*" >> /dracut',
    "usr/bin/chpasswd": 'echo "$*: $(cat)" >> /passwords',
}
PREPARE = "\n".join(
    f"printf '#!/bin/bash\\n%s\\n' '{text}' > /{name}; chmod 755 /{name}"
    for name, text in RECORDS.items()
)
WORDS = (
    "tiny", "stand-ins", "openstack-ci-mirrors", "nm-dhcp-ib-interfaces", "posix", "iscsi-boot",
    "dracut-regenerate", "root-password",
)  # fmt: skip


def build(workshop: Workshop, **variables: str) -> subprocess.CompletedProcess[str]:
    workshop.element(
        "stand-ins",
        {
            "bin/install-packages": '#!/bin/bash\nprintf "%s\\n" "$@" >> /installed\n',
            "bin/select-boot-kernel-initrd": "#!/bin/bash\necho vmlinuz-6.1:initrd-6.1\n",
            "pre-install.d/05-programs": f"{PREPARE}\n",
            "dracut.conf.d/50-mine.conf": 'compress="zstd"\n',
            "post-install.d/99-tell": 'echo "$DIB_BOOTLOADER_DEFAULT_CMDLINE" > /cmdline\n',
        },
    )
    workshop.element("openssh-server", {"README.rst": ""})
    workshop.element("select-boot-kernel-initrd", {"README.rst": ""})
    given = {"DIB_ROOT_PASSWORD": HASH, "OVERWRITE_OLD_IMAGE": "1", **variables}
    return workshop.create("-n", "-t", "tar", "-o", "out", *WORDS, **given)


def test_elements_that_others_depend_on_do_what_they_are_for(workshop: Workshop) -> None:
    done = build(workshop)
    assert done.returncode == 0, done.stdout
    assert HASH not in done.stdout
    with tarfile.open(workshop.directory / "out.tar") as tar:

        def text(name: str) -> str:
            file = tar.extractfile(f"./{name}")
            assert file
            return file.read().decode()

        profile = tar.getmember("./etc/NetworkManager/system-connections/infiniband.nmconnection")
        assert profile.mode == 0o600
        assert {"bc", "ed", "pax", "open-iscsi", "cryptsetup", "lvm2"} <= {
            *text("installed").split()
        }
        assert text("dracut") == "--force --add crypt lvm network iscsi /boot/initrd-6.1 6.1\n"
        assert text("etc/dracut.conf.d/50-mine.conf").endswith('compress="zstd"\n')
        assert text("cmdline").endswith(" rd.iscsi.firmware=1\n")
        assert text("passwords") == f"--encrypted: root:{HASH}\n"
        assert "./etc/apt" not in tar.getnames()


def test_modules_that_cannot_be_understood_are_refused(workshop: Workshop) -> None:
    done = build(workshop, DIB_DRACUT_ENABLED_MODULES="crypt, lvm")
    assert done.returncode == 1
    assert "DIB_DRACUT_ENABLED_MODULES cannot be understood" in done.stdout.rsplit("error: ", 1)[-1]


def test_mirrors_of_a_ci_node_are_taken_by_distribution(tmp_path: Path) -> None:
    hooks = tmp_path / "environment.d"
    hooks.mkdir()
    (tmp_path / "mirror_info.sh").write_text(
        "export NODEPOOL_DEBIAN_MIRROR=http://deb.example.org/debian\n"
        "export NODEPOOL_UBUNTU_MIRROR=http://u.example.org/ubuntu\n"
        "export NODEPOOL_UBUNTU_PORTS_MIRROR=http://u.example.org/ports\n"
        "export NODEPOOL_CENTOS_MIRROR=http://c.example.org\n"
        "export NODEPOOL_EPEL_MIRROR=http://c.example.org/epel\n"
    )
    name = "11-dib-distribution-mirror.bash"
    source = ROOT / "elements/openstack-ci-mirrors/environment.d" / name
    (hooks / name).write_text(source.read_text())

    def told(variable: str, **given: str) -> str:
        script = f'set -eu; source "$0"; echo "${{{variable}:-}}"'
        done = subprocess.run(
            ["bash", "-c", script, str(hooks / name)],
            env={"PATH": os.environ["PATH"], **given},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    mirror = "DIB_DISTRIBUTION_MIRROR"
    assert told(mirror, DISTRO_NAME="debian") == "http://deb.example.org/debian"
    assert told(mirror, DISTRO_NAME="ubuntu", ARCH="arm64") == "http://u.example.org/ports"
    assert told("DIB_EPEL_MIRROR", DISTRO_NAME="centos") == "http://c.example.org/epel"
    assert told(mirror, DISTRO_NAME="other", DIB_DISTRIBUTION_MIRROR="mine") == "mine"
    unsigned = f"--aptopt={tmp_path}/openstack-ci-mirrors/unsigned.conf"
    assert told("DIB_MMDEBSTRAP_EXTRA_ARGS", DISTRO_NAME="debian") == unsigned
    (tmp_path / "mirror_info.sh").unlink()
    assert told(mirror, DISTRO_NAME="debian", DIB_DISTRIBUTION_MIRROR="mine") == "mine"

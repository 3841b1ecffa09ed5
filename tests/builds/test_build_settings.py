"""Elements for Python, the kernel's parameters and apt's files, by their variables."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from stand_ins import packaged as build
from stand_ins import refused_packaged as refused

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]


def test_python_has_one_name_during_the_build(workshop: Workshop) -> None:
    look = 'readlink /usr/local/bin/dib-python >>/seen; echo "$DIB_PYTHON_VERSION $DIB_PYTHON'
    workshop.element("pythons", {
        "element-deps": "pip-and-virtualenv\n",
        "root.d/50-python": (
            "printf '#!/bin/bash\\necho python $* >>/ran\\n' >$TARGET_ROOT/usr/bin/python3\n"
            "chmod +x $TARGET_ROOT/usr/bin/python3\nmkdir -p $TARGET_ROOT/root/.cache/pip/x\n"
        ),
        "install.d/50-look": f'{look} $DIB_PYTHON_PIP, $DIB_PYTHON_VIRTUALENV" >>/seen\n',
    })  # fmt: skip
    image = build(workshop, "pythons", "ensure-venv")
    assert image.texts["seen"] == (
        "/usr/bin/python3\n3 python3 /usr/bin/python3 -m pip, /usr/bin/python3 -m venv\n"
    )
    assert "usr/local/bin/dib-python" not in image.members
    assert "root/.cache/pip" not in image.members
    first, later = (line.split() for line in image.texts["installed"].splitlines())
    assert first == ["python3"]
    assert {"git", "python3-pip", "python3-venv", "python3-virtualenv"} <= set(later)
    assert "ran" not in image.members
    image = build(workshop, "pythons", DIB_INSTALLTYPE_pip_and_virtualenv="source")
    assert image.texts["ran"].splitlines() == [
        "python -m pip install --upgrade --ignore-installed pip virtualenv",
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_a_get_pip_of_the_users_is_run(workshop: Workshop) -> None:
    script = workshop.directory / "get-pip.py"
    script.write_text("mine\n")
    workshop.element("pythons", {
        "element-deps": "pip-and-virtualenv\n",
        "root.d/50-python": (
            "python=$TARGET_ROOT/usr/bin/python3\n"
            "printf '#!/bin/bash\\necho $* >>/ran; [ ! -f $1 ] || cat $1 >>/ran\\n' >$python\n"
            "chmod +x $python\n"
        ),
    })  # fmt: skip
    image = build(workshop, "pythons", DIB_INSTALLTYPE_pip_and_virtualenv="source",
                  DIB_REPOLOCATION_pip_and_virtualenv=f"file://{script}")  # fmt: skip
    assert image.texts["ran"].startswith("/tmp/get-pip.py --upgrade --force-reinstall\nmine\n")


def test_pip_uses_the_mirrors_while_the_image_is_built(workshop: Workshop) -> None:
    cache = workshop.directory / ".cache/image-create"
    for name in ("pypi/mirror", "pip"):
        (cache / name).mkdir(parents=True)
        (cache / name / "kept").touch()
    workshop.element("pips", {
        "element-deps": "pypi\npip-cache\n",
        "root.d/50": "mkdir -p $TARGET_ROOT/root/.pip; echo own >$TARGET_ROOT/root/.pip/pip.conf\n",
        "install.d/50-look": (
            "cat /root/.pip/pip.conf >/seen; ls /tmp/pypi /tmp/pip >/mounted\n"
            "touch $PIP_CACHE_DIR/new\n"
        ),
    })  # fmt: skip
    mirrors = {"DIB_PYPI_MIRROR_URL": "http://one.example:8080/pypi",
               "DIB_PYPI_MIRROR_URL_1": "https://me:secret@two.example/pypi"}  # fmt: skip
    image = build(workshop, "pips", DIB_PIP_RETRIES="0", **mirrors)
    assert image.texts["seen"] == (
        "[global]\nretries = 0\ntrusted-host =\n    one.example\n    two.example\n"
        "extra-index-url =\n    http://one.example:8080/pypi\n    https://me:secret@two.example/pypi\n"
    )
    assert image.texts["root/.pip/pip.conf"] == "own\n"
    assert image.texts["mounted"].split().count("kept") == 2
    assert (cache / "pip/new").exists()
    image = build(workshop, "pips", "--offline")
    assert image.texts["seen"] == "[global]\nindex-url = file:///tmp/pypi\n"


def test_kernel_parameters_are_written_once_and_alike(workshop: Workshop) -> None:
    workshop.element("parameters", {
        "element-deps": "sysctl\n",
        "install.d/50-set": (
            "sysctl-set-value net.ipv4.ip_forward 1 'for routing'\n"
            "sysctl-set-value net.ipv4.ip_forward 1\nsysctl-set-value vm.no_such 2\n"
            "sysctl-write-value kernel.panic 10\n! sysctl-set-value kernel.panic 20\n"
            "! sysctl-set-value kernel.panic\n"
        ),
    })  # fmt: skip
    image = build(workshop, "parameters")
    forward = image.texts["etc/sysctl.d/net.ipv4.ip_forward.conf"]
    assert forward == "# for routing\nnet.ipv4.ip_forward = 1\n"
    assert image.texts["etc/sysctl.d/vm.no_such.conf"] == "vm.no_such = 2\n"
    assert image.texts["etc/sysctl.d/kernel.panic.conf"] == "kernel.panic = 10\n"
    assert "the build host's kernel does not know vm.no_such" in image.log
    assert "kernel.panic is to be 20, but is set otherwise: kernel.panic = 10" in image.log


APT = ("apt-sources", "apt-conf", "apt-preferences", "local-config")


def test_apt_gets_the_builders_files(workshop: Workshop) -> None:
    files = {name: workshop.directory / name for name in ("sources", "conf", "manifest")}
    files["sources"].write_text("deb mirror suite main\n")
    files["conf"].write_text("APT::Get::Assume-Yes;\n")
    packages = [{"package": "a", "version": "1:2.0-1"}, {"package": "b", "version": "3"}]
    files["manifest"].write_text(json.dumps({"packages": packages}))
    ssh = workshop.directory / ".ssh"
    ssh.mkdir()
    (ssh / "authorized_keys").write_text("ssh-ed25519 AAAA me\n")
    workshop.element(
        "apt",
        {
            "root.d/50": (
                "d=$TARGET_ROOT/etc/apt/sources.list.d\nmkdir -p $d\ntouch $d/debian.sources\n"
            )
        },
    )
    image = build(
        workshop, "apt", *APT,
        DIB_APT_SOURCES=str(files["sources"]), DIB_APT_CONF=str(files["conf"]),
        DIB_DPKG_MANIFEST=str(files["manifest"]),
        http_proxy="http://proxy.example:3128", no_proxy="localhost, mirror.example",
    )  # fmt: skip
    assert image.texts["etc/apt/sources.list"] == "deb mirror suite main\n"
    assert "etc/apt/sources.list.d/debian.sources" not in image.members
    assert image.texts["etc/apt/apt.conf"] == "APT::Get::Assume-Yes;\n"
    assert image.texts["etc/apt/preferences"] == (
        "Package: a\nPin: version 1:2.0-1\nPin-Priority: 1001\n\n"
        "Package: b\nPin: version 3\nPin-Priority: 1001\n\n"
    )
    proxy = image.texts["etc/apt/apt.conf.d/02-use-http-proxy"]
    assert proxy == 'Acquire::http::Proxy "http://proxy.example:3128";\n'
    direct = image.texts["etc/apt/apt.conf.d/02-no-proxy"].splitlines()
    assert direct[1] == 'Acquire::http::Proxy::mirror.example "DIRECT";'
    assert image.texts["root/.ssh/authorized_keys"] == "ssh-ed25519 AAAA me\n"
    assert image.mode("root/.ssh/authorized_keys") == 0o600


def test_without_variables_apt_stays_as_it_is(workshop: Workshop) -> None:
    image = build(workshop, *APT)
    assert not [name for name in image.members if name.startswith("etc/apt/")]
    assert "DIB_APT_SOURCES is not set" in image.log


@pytest.mark.parametrize(
    ("element", "variables"),
    [
        ("apt-sources", {"DIB_APT_SOURCES": "/no/such"}),
        ("apt-conf", {"DIB_APT_CONF": "/no/such"}),
        ("apt-preferences", {"DIB_DPKG_MANIFEST": "/no/such"}),
    ],
)
def test_a_file_that_is_not_there_is_named(
    workshop: Workshop, element: str, variables: Mapping[str, str]
) -> None:
    text = refused(workshop, element, **variables)
    assert "'/no/such'" in text
    assert next(iter(variables)) in text
    assert "hint: " in text

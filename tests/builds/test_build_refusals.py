"""Bad input: one clear message with what, where and a hint, a documented status, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
]
OTHER_KEYS = Path("/usr/share/keyrings/debian-archive-removed-keys.gpg")
DISK = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    lable: mbr
    partitions: [{name: root, size: 100%}]
"""


def refused(workshop: Workshop, *words: str, **variables: str) -> str:
    """What a build says that does not even begin; its status is 1, imagebuilder's is 2."""
    done = workshop.create(*words, **variables)
    other = workshop.imagebuilder("build", *words, **variables)
    assert (done.returncode, other.returncode) == (1, 2)
    text = done.stdout.rsplit("error: ", 1)[-1]
    assert "Traceback" not in done.stdout
    assert "Traceback" not in other.stdout + other.stderr
    assert len(text.splitlines()) <= 3
    assert not list(workshop.scratch.iterdir())
    return text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--imagesize", "3", "vm"), ("--imagesize not recognized", "--image-size")),
        (("-Z", "vm"), ("-Z not recognized",)),
        ((), ("At least one distribution root element",)),
        (("-n", "tiny", "cloud-int"), ("Element 'cloud-int' not found", "'cloud-init'")),
        (("-n", "vm"), ("Please include an operating system element", "debian-minimal")),
        (("-n", "tiny", "debian-minimal"), ("operating-system", "already provided by")),
        (("-n", "tiny", "../escape"), ("../escape",)),
        (("-n", "-t", "qcov2", "tiny"), ("'qcov2'", "'qcow2'")),
        (("-n", "--image-size", "large", "tiny"), ("--image-size", "not a number: 'large'")),
        (("-n", "-o", "no/such/out", "tiny"), ("no/such",)),
        (("-n", "--logfile", "no/such/log", "tiny"), ("--logfile no/such/log", "cannot write")),
    ],
)
def test_a_bad_command_line(workshop: Workshop, words: tuple[str, ...], said: tuple[str]) -> None:
    text = refused(workshop, *words)
    assert all(each in text for each in said), text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DIB_RELEASE": "lenny"}, ("DIB_RELEASE", "lenny", "trixie")),
        ({"DIB_GRUB_TIMEOUT": "soon"}, ("DIB_GRUB_TIMEOUT", "soon")),
        ({"ELEMENTS_PATH": "/no/such"}, ("/no/such",)),
        ({"SOURCE_DATE_EPOCH": "now"}, ("SOURCE_DATE_EPOCH", "now")),
        ({"DIB_BLOCK_DEVICE_CONFIG": "a: ["}, ("DIB_BLOCK_DEVICE_CONFIG:1:", "not valid YAML")),
        ({"DIB_BLOCK_DEVICE_CONFIG": DISK}, ("DIB_BLOCK_DEVICE_CONFIG:5:5", "'lable'", "'label'")),
        ({"DIB_BLOCK_DEVICE_CONFIG": "file:///no/disk"}, ("/no/disk",)),
        ({"IMAGEBUILDER_HOOK_TIMEOUT": "abc"}, ("IMAGEBUILDER_HOOK_TIMEOUT", "abc")),
        ({"TMPDIR": "/no/such/dir"}, ("/no/such/dir", "TMPDIR")),
    ],
)
def test_a_bad_variable(
    workshop: Workshop, variables: dict[str, str], said: tuple[str, ...]
) -> None:
    text = refused(workshop, "vm", "debian-minimal", **variables)
    assert all(each in text for each in said), text


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"package-installs.yaml": "a:\n  phase: [\n"}, ("package-installs.yaml:3:1", "YAML")),
        (
            {"element.yaml": "summary: x\n", "package-installs.yaml": "a:\n  phases: x\n"},
            ("package-installs.yaml:2:3", "'phase'"),
        ),
        ({"element.yaml": "sumary: x\n"}, ("element.yaml:1:1", "'summary'")),
        ({"pkg-map": "{"}, ("pkg-map:1:2",)),
        ({"element-deps": "a b\n"}, ("element-deps:1",)),
        ({"environment.d/50-bad": "exit 3\n"}, ("environment.d/50-bad",)),
    ],
)
def test_a_bad_element(workshop: Workshop, files: dict[str, str], said: tuple[str, ...]) -> None:
    element = workshop.element("bad", files)
    done = workshop.create("-n", "tiny", "bad")
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stdout
    text = done.stdout.rsplit("error: ", 1)[-1]
    assert all(each in text for each in said), text
    assert element.name in text or "environment.d" in text


def test_an_unreadable_file_is_named(workshop: Workshop) -> None:
    element = workshop.element("bad", {"element-deps": "tiny\n"})
    (element / "element-deps").write_bytes(b"\xff\xfe\n")
    assert f"{element}/element-deps" in refused(workshop, "-n", "bad")


def test_a_missing_tool_is_named_with_its_package(workshop: Workshop) -> None:
    tool = shutil.which("qemu-img")
    if tool is None:
        pytest.skip("needs qemu-img, to hide it")
    built, planned = (
        subprocess.run(
            ["unshare", "-m", "bash", "-c", f'mount --bind /dev/null {tool} && exec "$@"', "-",
             sys.executable, "-m", "imagebuilder", verb, "-n", "tiny"],
            cwd=workshop.directory, env=workshop.variables({}),
            capture_output=True, text=True, check=False,
        )
        for verb in ("build", "plan")
    )  # fmt: skip
    assert built.returncode == 3
    assert planned.returncode == 0
    assert "the build would be refused: not installed: qemu-img" in planned.stdout
    for said in (built.stdout, planned.stdout):
        assert "not installed: qemu-img" in said
        assert "qemu-utils" in said


@pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap")
def test_an_unreachable_mirror_is_said(workshop: Workshop) -> None:
    mirror = "http://127.0.0.1:9/debian"
    done = workshop.create("vm", "debian-minimal", DIB_DISTRIBUTION_MIRROR=mirror)
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-1]
    assert "debootstrap: the mirror does not answer" in last
    assert mirror in last
    assert "hint: " in last


@pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap")
@pytest.mark.skipif(not OTHER_KEYS.exists(), reason=f"needs {OTHER_KEYS}")
def test_a_signature_by_another_key_is_refused(workshop: Workshop) -> None:
    done = workshop.create("vm", "debian-minimal", DIB_APT_KEYRING=str(OTHER_KEYS))
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-1]
    assert "debootstrap: the archive's signature is not trusted" in last
    assert "DIB_APT_KEYRING" in last


def test_settings_that_an_earlier_hook_leaves_count_for_the_bootstrap(workshop: Workshop) -> None:
    leave = "echo DIB_APT_KEYRING=/of/extra/settings >$TARGET_ROOT/.extra_settings\n"
    workshop.element("early", {"root.d/05-early": leave})
    done = workshop.create("-n", "-t", "tar", "-o", "out", "debian-minimal", "early")
    assert done.returncode == 1
    assert "the keyring /of/extra/settings is not there" in done.stdout

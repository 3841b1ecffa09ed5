"""Debian from the package mirror: installed from a wheel, or from the checkout; the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagebuilder.cache.downloads import Downloads

if TYPE_CHECKING:
    from conftest import Workshop

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]
WORDS = ("-o", "web", "-t", "qcow2,tar", "vm", "debian-minimal")


def pip(python: Path, *words: str) -> None:
    """Run pip; skip the test where it has no package index."""
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr or "Could not fetch" in done.stderr:
        pytest.skip("needs a Python package index")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a wheel that is installed into an empty venv, outside the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT))
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    (wheel,) = directory.glob("*.whl")
    pip(directory / "venv/bin/python", "install", str(wheel))
    return directory / "venv/bin"


@pytest.fixture(scope="module")
def made(images: Workshop) -> Path:
    """Where the checkout has built the image."""
    done = images.create(*WORDS)
    assert done.returncode == 0, done.stdout[-3000:]
    return images.directory


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_an_installed_wheel_builds_the_same_bytes(
    installed: Path, made: Path, workshop: Workshop
) -> None:
    environment = workshop.variables({"ELEMENTS_PATH": ""})
    del environment["PYTHONPATH"]
    done = subprocess.run(
        [installed / "disk-image-create", *WORDS],
        cwd=workshop.directory, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    for name in ("web.qcow2", "web.tar"):
        assert digest(workshop.directory / name) == digest(made / name)


def test_the_tree_has_nothing_of_the_build_host(made: Path) -> None:
    with tarfile.open(made / "web.tar") as tar:
        names = set(tar.getnames())
        hosts = tar.extractfile("./etc/hostname")
        machine = tar.extractfile("./etc/machine-id")
        assert hosts
        assert machine
        assert hosts.read() == b"debian\n"
        assert machine.read().strip() in (b"", b"uninitialized")
        assert {m.mtime for m in tar.getmembers() if m.mtime > 1767225600} == set()
    assert not [name for name in names if name.startswith(("./tmp/", "./dev/"))]
    assert not [name for name in names if name.startswith("./etc/ssh/ssh_host_")]
    assert "./usr/sbin/policy-rc.d" not in names
    assert "./proc" in names


def test_manifests_are_beside_the_image(made: Path) -> None:
    manifest = made / "web.d/dib-manifests/dib-manifest-dpkg-web"
    packages = json.loads(manifest.read_text())["packages"]
    assert {"systemd", "udev"} <= {package["package"] for package in packages}


def test_offline_the_bytes_are_the_same_and_what_is_missing_is_named(
    images: Workshop, made: Path
) -> None:
    words = ("-o", "cut", "-t", "tar", "--no-cache", "-p", "less", "vm", "debian-minimal")
    done = images.create(*words)
    assert done.returncode == 0, done.stdout[-3000:]
    online = digest(made / "cut.tar")
    done = images.create(*words, "--offline", OVERWRITE_OLD_IMAGE="1")
    assert done.returncode == 0, done.stdout[-3000:]
    assert digest(made / "cut.tar") == online
    downloads = Downloads(images.directory / ".cache/image-create/downloads")
    known = {entry.url.rpartition("/")[2]: entry.digest for entry in downloads.entries()}
    (package,) = (name for name in known if name.startswith("udev_"))
    assert downloads.discard(known[package])
    done = images.create(*words, "--offline", OVERWRITE_OLD_IMAGE="1")
    assert done.returncode == 1
    assert "not in the download cache: the package udev (" in done.stdout
    assert "run the same build once without --offline" in done.stdout


def test_nothing_but_the_builds_own_directory_is_left_when_a_bootstrap_is_killed(
    images: Workshop,
) -> None:
    with images.start("-n", "-t", "tar", "-o", "gone", "--no-cache", "debian-minimal") as program:
        assert program.stdout is not None
        for line in program.stdout:
            if "Selecting previously unselected package" in line:
                break
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    left = [path.name for path in images.scratch.iterdir()]
    assert all(name.startswith("dib_build.") for name in left), left
    assert not [*images.directory.glob("*gone*")]

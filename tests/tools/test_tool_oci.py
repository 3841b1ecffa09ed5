"""Container images become trees, and wrong ones are refused with a line that says why."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from oci_layout import Layout, layer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes owners and uses chroot")
FIRST = {
    "usr/": None,
    "usr/bin/": None,
    "bin": "->usr/bin",
    "usr/bin/tool": "old",
    "usr/bin/gone": "gone",
    "etc/": None,
    "etc/one": "1",
    "etc/two": "2",
    "var/data/": None,
    "var/data/kept": "kept",
}
SECOND = {
    "bin/tool": "new",  # through the first layer's symlink
    "usr/bin/.wh.gone": "",
    "etc/three": "3",
    "etc/.wh..wh..opq": "",  # after what this layer has there itself
    "usr/bin/again": "=>usr/bin/tool",
    "var/data": "a file where a directory was",
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def unpack(image: Path, tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    tree.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "imagebuilder", "oci", "unpack", image, tree, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def two_layers(layout: Layout) -> Path:
    return layout.finish(layout.image("amd64", [layer(FIRST), layer(SECOND)]))


def test_later_layers_change_what_earlier_ones_made(layout: Layout, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    done = unpack(two_layers(layout), tree, "--arch", "amd64")
    assert done.returncode == 0, done.stderr
    assert (tree / "usr/bin/tool").read_text() == "new"
    assert (tree / "bin").readlink() == Path("usr/bin")
    assert not (tree / "usr/bin/gone").exists()
    assert [path.name for path in (tree / "etc").iterdir()] == ["three"]
    assert (tree / "var/data").read_text() == "a file where a directory was"


def test_files_keep_owner_mode_time_attributes_and_hard_links(
    layout: Layout, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    assert unpack(two_layers(layout), tree, "--arch", "amd64").returncode == 0
    status = (tree / "usr/bin/tool").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o754)
    assert status.st_mtime == 1700000000
    assert (tree / "usr").stat().st_mtime == 1700000000
    assert os.getxattr(tree / "usr/bin/tool", "user.note") == b"noted"
    assert (tree / "usr/bin/again").stat().st_ino == status.st_ino


def test_no_symlink_in_a_layer_leads_out_of_the_tree(layout: Layout, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    files = {"way": f"->{outside}", "way/file": "inside", "up": "->../../..", "up/other": "inside"}
    image = layout.finish(layout.image("amd64", [layer(files)]))
    done = unpack(image, tmp_path / "tree", "--arch", "amd64")
    assert not [*outside.iterdir()]
    assert not (tmp_path / "other").exists()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree/other").read_text() == "inside"


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_read(layout: Layout, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "image.tar"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{two_layers(layout)}",
         f"{kind}:{archive}:name:tag"],
        check=True,
    )  # fmt: skip
    tree = tmp_path / "tree"
    done = unpack(archive, tree, "--arch", "amd64")
    assert done.returncode == 0, done.stderr
    assert (tree / "bin/tool").read_text() == "new"


def test_of_several_architectures_the_wanted_one_is_taken(layout: Layout, tmp_path: Path) -> None:
    images = [layout.image(name, [layer({"which": name})]) for name in ("amd64", "arm64")]
    image = layout.finish(*images)
    assert unpack(image, tmp_path / "tree", "--arch", "arm64").returncode == 0
    assert (tmp_path / "tree/which").read_text() == "arm64"
    refused = unpack(image, tmp_path / "tree", "--arch", "s390x")
    assert refused.returncode == 2
    assert "has no image for s390x" in refused.stderr
    assert "amd64, arm64" in refused.stderr


@pytest.mark.parametrize("what", ["changed", "short", "missing"])
def test_a_damaged_image_is_refused_before_anything_is_unpacked(
    layout: Layout, tmp_path: Path, what: str
) -> None:
    image = two_layers(layout)
    largest = max((image / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    if what == "missing":
        largest.unlink()
    else:
        largest.write_bytes(content[:-9] if what == "short" else b"\0" + content[1:])
    done = unpack(image, tmp_path / "tree", "--arch", "amd64")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("lacks blobs/" if what == "missing" else "is damaged: sha256:") in done.stderr
    assert not [*(tmp_path / "tree").iterdir()]


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(
    layout: Layout, tmp_path: Path
) -> None:
    descriptor = layout.image("amd64", [layer(FIRST)])
    blobs = layout.root / "blobs/sha256"
    manifest = json.loads((blobs / descriptor["digest"][7:]).read_text())
    other = gzip.compress(layer({"other": "content"}), mtime=0)
    manifest["layers"] = [layout.blob(other, "application/vnd.oci.image.layer.v1.tar+gzip")]
    changed = layout.blob(json.dumps(manifest).encode(), descriptor["mediaType"])
    done = unpack(layout.finish(changed), tmp_path / "tree", "--arch", "amd64")
    assert done.returncode == 2
    assert "layer 1 of the container image is damaged" in done.stderr


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nothing of the kind")
    for image, why in ((tmp_path / "file", "not a container image"), (tmp_path, "is none")):
        done = unpack(image, tmp_path / "tree")
        assert done.returncode == 2
        assert why in done.stderr

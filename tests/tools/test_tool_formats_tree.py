"""Filesystem and container images of a tree, read by the tools that know them."""

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagebuilder.errors import PublishError
from imagebuilder.formats import container, squashfs, tar
from imagebuilder.formats.model import Output
from imagebuilder.process import Command, find, run

EPOCH = 1_600_000_000

pytestmark = pytest.mark.tools
needs_tar = pytest.mark.skipif(find("tar") is None, reason="needs GNU tar")
needs_mksquashfs = pytest.mark.skipif(
    find("mksquashfs") is None or find("unsquashfs") is None, reason="needs squashfs-tools"
)
needs_skopeo = pytest.mark.skipif(find("skopeo") is None, reason="needs skopeo")
needs_umoci = pytest.mark.skipif(find("umoci") is None, reason="needs umoci")
needs_pigz = pytest.mark.skipif(find("pigz") is None, reason="needs pigz")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="unpacks owners")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name in ("etc", "proc", "sys/kernel", "dev", "run", "usr/bin"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/hostname").write_text("web\n")
    (tree / "usr/bin/tool").write_bytes(b"#!/bin/sh\n" * 1000)
    (tree / "usr/bin/tool").chmod(0o4755)
    (tree / "usr/bin/other").hardlink_to(tree / "usr/bin/tool")
    (tree / "usr/bin/link").symlink_to("../../etc/hostname")
    for name in ("proc/version", "dev/.hidden", "sys/block"):
        (tree / name).write_text("not for the image\n")
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return tree


def pack(tree: Path, directory: Path, name: str, **more: object) -> Path:
    directory.mkdir(exist_ok=True)
    module = {"squashfs": squashfs, "aci": tar, "tgz": tar}.get(name, container)
    path = directory / f"web{module.SUFFIXES[name]}"  # type: ignore[attr-defined]
    output = Output(path=path, format=name, epoch=EPOCH, **more)  # type: ignore[arg-type]
    made: Path = module.write(tree, output, run).path  # type: ignore[attr-defined]
    return made


@needs_mksquashfs
@pytest.mark.parametrize("compression", ["xz", "zstd"])
def test_squashfs_has_the_tree_with_the_kernels_directories_empty(
    tree: Path, tmp_path: Path, compression: str
) -> None:
    made = pack(tree, tmp_path / "a", "squashfs", squashfs=compression)
    assert made.name == "web.squash"
    told = run(Command(("unsquashfs", "-s", str(made)))).output
    assert f"Compression {compression}\n" in told
    run(Command(("unsquashfs", "-d", str(tmp_path / "back"), str(made))))
    found = {str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*")}
    assert found == {
        "dev", "etc", "etc/hostname", "proc", "run", "sys", "usr", "usr/bin", "usr/bin/link",
        "usr/bin/other", "usr/bin/tool",
    }  # fmt: skip
    status = (tmp_path / "back/usr/bin/tool").stat()
    assert (status.st_mode & 0o7777, status.st_nlink, status.st_mtime) == (0o4755, 2, EPOCH)


@needs_mksquashfs
def test_squashfs_is_the_same_again(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy/usr/bin/other").unlink()
    (tmp_path / "copy/usr/bin/other").hardlink_to(tmp_path / "copy/usr/bin/tool")
    for path in (tmp_path / "copy", *(tmp_path / "copy").rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    first = pack(tree, tmp_path / "a", "squashfs").read_bytes()
    assert pack(tmp_path / "copy", tmp_path / "b", "squashfs").read_bytes() == first


@needs_tar
@needs_skopeo
@pytest.mark.parametrize(
    ("name", "transport"), [("docker", "docker-archive"), ("oci", "oci-archive")]
)
def test_skopeo_reads_a_container_image(
    tree: Path, tmp_path: Path, name: str, transport: str
) -> None:
    more = {"target": "example/web:1.0", "arch": "armhf"}
    made = pack(tree, tmp_path / "a", name, **more)
    told = json.loads(run(Command(("skopeo", "inspect", f"{transport}:{made}"))).output)
    assert (told["Architecture"], told["Os"]) == ("arm", "linux")
    assert told["Created"] == "2020-09-13T12:26:40Z"
    assert len(told["Layers"]) == 1
    copied = f"oci:{tmp_path}/layout:1.0"
    run(Command(("skopeo", "--insecure-policy", "copy", f"{transport}:{made}", copied)))
    assert pack(tree, tmp_path / "b", name, **more).read_bytes() == made.read_bytes()


@needs_tar
@needs_umoci
@needs_root
def test_umoci_unpacks_an_oci_image(tree: Path, tmp_path: Path) -> None:
    made = pack(tree, tmp_path / "a", "oci", target="example/web:1.0")
    with tarfile.open(made) as archive:
        index = archive.extractfile("index.json")
        assert index
        (listed,) = json.loads(index.read())["manifests"]
        assert listed["annotations"]["io.containerd.image.name"] == "example/web:1.0"
        archive.extractall(tmp_path / "layout", filter="data")
    source, bundle = f"{tmp_path}/layout:1.0", tmp_path / "bundle"
    run(Command(("umoci", "unpack", "--image", source, str(bundle))))
    rootfs = bundle / "rootfs"
    assert (rootfs / "usr/bin/tool").stat().st_nlink == 2
    assert (rootfs / "usr/bin/link").readlink() == Path("../../etc/hostname")
    assert [path.name for path in (rootfs / "dev").iterdir()] == []


@needs_tar
@pytest.mark.parametrize("kind", ["tar+gzip", "tar"])
def test_an_oci_archive_names_its_blobs_by_their_digests(
    tree: Path, tmp_path: Path, kind: str
) -> None:
    made = pack(tree, tmp_path / "a", "oci", compress=kind != "tar")
    with tarfile.open(made) as archive:
        contents = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    blobs = {name: content for name, content in contents.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    for name, content in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    (listed,) = json.loads(contents["index.json"])["manifests"]
    manifest = json.loads(blobs[f"blobs/{listed['digest'].replace(':', '/')}"])
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.{kind}"
    content = blobs[f"blobs/{layer['digest'].replace(':', '/')}"]
    assert layer["size"] == len(content)
    config = json.loads(blobs[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    plain = gzip.decompress(content) if kind != "tar" else content
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    assert json.loads(contents["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert listed["annotations"] == {"org.opencontainers.image.ref.name": "latest"}


@needs_tar
def test_an_archive_for_docker_is_under_its_name(tree: Path, tmp_path: Path) -> None:
    made = pack(tree, tmp_path / "a", "docker", target="host:5000/example/web")
    with tarfile.open(made) as archive:
        (told,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert told["RepoTags"] == ["host:5000/example/web:latest"]
        assert {told["Config"], *told["Layers"]} < set(archive.getnames())


@needs_tar
def test_an_aci_has_the_manifest_and_the_tree_below_rootfs(tree: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "web.json"
    manifest.write_text('{"acKind": "ImageManifest"}')
    made = pack(tree, tmp_path / "a", "aci", aci_manifest=manifest)
    with tarfile.open(made) as archive:
        names = archive.getnames()
        assert names[:4] == ["manifest", "rootfs", "rootfs/dev", "rootfs/etc"]
        assert all(name.startswith("rootfs") for name in names[1:])
        assert archive.getmember("rootfs/usr/bin/link").linkname == "../../etc/hostname"
        assert archive.getmember("rootfs/usr/bin/tool").linkname == "rootfs/usr/bin/other"
        content = archive.extractfile("manifest")
        assert content
        assert content.read() == manifest.read_bytes()
    assert pack(tree, tmp_path / "b", "aci", aci_manifest=manifest).read_bytes() == (
        made.read_bytes()
    )


@needs_tar
@needs_pigz
def test_tgz_is_compressed_by_the_program_that_is_named(tree: Path, tmp_path: Path) -> None:
    made = pack(tree, tmp_path / "a", "tgz", gzip="pigz -p 2", checksums=("md5",))
    content = made.read_bytes()
    assert content[8] == 2  # best compression (RFC 1952), which ours does not claim
    assert content[4:8] == bytes(4)  # no time
    ours = gzip.decompress(pack(tree, tmp_path / "b", "tgz").read_bytes())
    assert gzip.decompress(content) == ours
    told = Path(f"{made}.md5").read_text().split()[0]
    assert told == hashlib.md5(content, usedforsecurity=False).hexdigest()


class Registry(http.server.BaseHTTPRequestHandler):
    """As much of a registry as a push takes (OCI Distribution Specification 1.0)."""

    blobs: dict[str, bytes]
    manifests: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while length := int(self.rfile.readline(), 16):
            content += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def do_GET(self) -> None:
        self.answer(200)

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        known = self.blobs.get(digest)
        self.answer(*((404,) if known is None else (200,)))

    def do_POST(self) -> None:
        self.body()
        self.answer(202, Location=f"{self.path}upload", Docker_Upload_UUID="upload")

    def do_PATCH(self) -> None:
        self.blobs["upload"] = self.body()
        self.answer(202, Location=self.path, Docker_Upload_UUID="upload")

    def do_PUT(self) -> None:
        content = self.body()
        if found := re.search(r"digest=sha256(?::|%3A)(\w+)", self.path):
            self.blobs[f"sha256:{found[1]}"] = self.blobs.pop("upload", b"") + content
        else:
            self.manifests[self.path] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.answer(201, Location=self.path, Docker_Content_Digest=digest)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type]]:
    handler = type("Handler", (Registry,), {"blobs": {}, "manifests": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        configuration = tmp_path / ".config/containers/registries.conf"
        configuration.parent.mkdir(parents=True)
        configuration.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield host, handler
        server.shutdown()
        thread.join()


@needs_tar
@needs_skopeo
@pytest.mark.parametrize("name", ["docker", "oci"])
def test_an_image_is_pushed_to_a_registry(
    tree: Path, tmp_path: Path, registry: tuple[str, type[Registry]], name: str
) -> None:
    host, handler = registry
    target = f"docker://{host}/example/web:1.0"
    path = pack(tree, tmp_path / "a", name, target=target)
    told = container.deliver(Output(path=path, format=name, target=target), run)
    assert told == f"pushed to {target}"
    manifest = json.loads(handler.manifests["/v2/example/web/manifests/1.0"])
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(handler.blobs[layer["digest"]])) as archive:
        assert "./etc/hostname" in archive.getnames()


@needs_skopeo
def test_a_push_that_fails_says_that_the_file_is_there(tmp_path: Path) -> None:
    output = Output(path=tmp_path / "web.oci.tar", format="oci", target="docker://127.0.0.1:1/web")
    output.path.write_bytes(b"")
    with pytest.raises(PublishError, match="skopeo did not take the image"):
        container.deliver(output, run)

"""docker and oci: the root tree as a container image of one layer, in one file, without a daemon.

`docker` is the archive that `docker load`, podman and skopeo read (Docker Image Specification
1.2). Where a Docker daemon answers, or podman is installed, the image is also loaded, under the
name that `--docker-target` gives, which `docker` has to have. `oci` is an image layout in an
archive (OCI Image Format Specification 1.0), for `skopeo copy oci-archive:NAME.oci.tar ...`.

A target `docker://HOST/REPOSITORY:TAG` is a registry, to which skopeo pushes the finished image,
with the credentials that `skopeo login` or `docker login` left. The layer of `oci` is compressed
with gzip unless `-u` is given. Equal trees give equal bytes.

Like an image that `docker import` makes it has no default command.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from imagebuilder.errors import CommandError, ConfigError, PublishError, ToolMissingError
from imagebuilder.formats import place, tar
from imagebuilder.formats.deflate import gzip
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import BASE_ENVIRONMENT, Command, Runner, find

SOURCE = Source.TREE
SUFFIXES = {"docker": ".docker.tar", "oci": ".oci.tar"}
FEATURES = ("tar",)
TRANSPORTS = {"docker": "docker-archive", "oci": "oci-archive"}
REGISTRY = "docker://"
# In Go's words, and the variant.
ARCHITECTURES = {
    "i386": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v5"),
    "ppc64el": ("ppc64le", ""),
}
MEDIA = "application/vnd.oci.image."
CLIENT_VARIABLES = (
    "HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DOCKER_HOST",
    "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "CONTAINER_HOST",
    "CONTAINERS_REGISTRIES_CONF", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
    "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """The layer in the archive: the digest of its content, and its own when that is packed."""

    packed: bool
    content: str
    digest: str
    size: int


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the tree `source` into the output."""
    del run  # tar is read as it writes
    return place.place(
        output, lambda path: _fill(source, path, output), lambda: tar.allocated(source)
    )


def check(output: Output) -> None:
    """Raise ConfigError without a usable name, and ToolMissingError if nothing could push it."""
    if output.format == "docker" and not output.target:
        raise ConfigError(
            "the image has no name", where="-t docker", hint="--docker-target REPOSITORY:TAG"
        )
    repository, tag = reference(output.target)
    if any(mark in repository + tag for mark in " \t@") or (output.target and not repository):
        raise ConfigError(
            f"not a name of an image: {output.target!r}",
            where="--docker-target",
            hint="write it like example/web:1.0",
        )
    if output.target.startswith(REGISTRY) and find("skopeo") is None:
        raise ToolMissingError(
            "skopeo is not installed, which pushes images",
            where=f"--docker-target {output.target}",
            hint="install the package skopeo, or leave the docker:// out",
        )


def deliver(output: Output, run: Runner) -> str:
    """Push the image to a registry, or load it where containers run; say which, if either."""
    if output.target.startswith(REGISTRY):
        _deliver(push(output), output, run)
        return f"pushed to {output.target}"
    if output.format != "docker":
        return ""
    for program in _engines(run):
        _deliver(_client(program, "load", "--input", str(output.path)), output, run)
        return f"loaded into {program} as {_name(output.target)}"
    return f"no Docker daemon answers, and podman is not installed: only {output.path} was written"


def push(output: Output) -> Command:
    """The command that copies the image to a registry."""
    source = f"{TRANSPORTS[output.format]}:{output.path.absolute()}"
    return _client("skopeo", "--insecure-policy", "copy", "--quiet", source, output.target)


def reference(target: str) -> tuple[str, str]:
    """The repository and the tag of an image's name; without one it is `latest`."""
    name = target.removeprefix(REGISTRY)
    directory, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{directory}{slash}{last}", tag or "latest"


def _engines(run: Runner) -> Iterator[str]:
    """What can load an image here."""
    if find("docker"):
        try:
            run(_client("docker", "version", "--format", "{{.Server.Version}}"))
            yield "docker"
        except CommandError:  # the program without its daemon
            pass
    if find("podman"):
        yield "podman"


def _client(*words: str) -> Command:
    """A command that finds the caller's registries, credentials and daemons."""
    given = {name: os.environ[name] for name in CLIENT_VARIABLES if name in os.environ}
    path = f"{os.environ.get('PATH', '')}:{BASE_ENVIRONMENT['PATH']}"
    return Command(words, env={**given, "PATH": path})


def _deliver(command: Command, output: Output, run: Runner) -> None:
    try:
        run(command)
    except CommandError as error:
        raise PublishError(
            f"{command.argv[0]} did not take the image: {error.what}",
            where=str(output.path),
            hint=f"the file is complete; to try again: {command}",
        ) from error


def _fill(tree: Path, target: Path, output: Output) -> None:
    packed = output.format == "oci" and output.compress
    pieces = tar.archived(lambda pipe: tar.archive(tree, pipe, output.epoch))
    with target.open("w+b") as file, closing(pieces):
        layer = _write_layer(file, pieces, output, packed=packed)
        for name, content in MEMBERS[output.format](layer, output):
            file.write(tar.member(name, content, output.epoch))
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _write_layer(
    file: BinaryIO, pieces: Iterable[bytes], output: Output, *, packed: bool
) -> _Layer:
    """Write the member with the layer; its header last, when its name and size are known."""
    content, whole = hashlib.sha256(), hashlib.sha256()
    size = 0
    file.seek(tarfile.BLOCKSIZE)
    told = _told(pieces, content)
    for piece in gzip(told) if packed else told:
        file.write(piece)
        size += len(piece)
        if packed:
            whole.update(piece)
    file.write(bytes(-size % tarfile.BLOCKSIZE))
    digests = content.hexdigest(), (whole if packed else content).hexdigest()
    layer = _Layer(packed=packed, content=digests[0], digest=digests[1], size=size)
    end = file.tell()
    file.seek(0)
    file.write(tar.header(_member(layer, output), size, output.epoch))
    file.seek(end)
    return layer


def _told(pieces: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _member(layer: _Layer, output: Output) -> str:
    return f"{layer.content}.tar" if output.format == "docker" else f"blobs/sha256/{layer.digest}"


def _docker(layer: _Layer, output: Output) -> Iterator[tuple[str, bytes]]:
    """What follows the layer in an archive of Docker's."""
    config = _json(_config(layer, output))
    name = f"{_sha256(config)}.json"
    listed = {
        "Config": name,
        "RepoTags": [_name(output.target)],
        "Layers": [_member(layer, output)],
    }
    yield name, config
    yield "manifest.json", _json([listed])


def _oci(layer: _Layer, output: Output) -> Iterator[tuple[str, bytes]]:
    """What follows the layer in an image layout."""
    config = _json(_config(layer, output))
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}manifest.v1+json",
        "config": _descriptor("config.v1+json", config),
        "layers": [{
            "mediaType": f"{MEDIA}layer.v1.tar{'+gzip' if layer.packed else ''}",
            "digest": f"sha256:{layer.digest}",
            "size": layer.size,
        }],
    })  # fmt: skip
    listed = {**_descriptor("manifest.v1+json", manifest), "annotations": _annotations(output)}
    for blob in (config, manifest):
        yield f"blobs/sha256/{_sha256(blob)}", blob
    yield "index.json", _json({"schemaVersion": 2, "manifests": [listed]})
    yield "oci-layout", _json({"imageLayoutVersion": "1.0.0"})


MEMBERS = {"docker": _docker, "oci": _oci}


def _config(layer: _Layer, output: Output) -> Mapping[str, Any]:
    architecture, variant = ARCHITECTURES.get(output.arch, (output.arch, ""))
    created = datetime.fromtimestamp(output.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": created,
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.content}"]},
        "history": [{"created": created, "created_by": "imagebuilder"}],
    }


def _annotations(output: Output) -> Mapping[str, str]:
    """The tag, as the specification has it, and the whole name as containerd wants it."""
    whole = {"io.containerd.image.name": _name(output.target)} if output.target else {}
    return {"org.opencontainers.image.ref.name": reference(output.target)[1], **whole}


def _descriptor(kind: str, blob: bytes) -> Mapping[str, Any]:
    return {"mediaType": MEDIA + kind, "digest": f"sha256:{_sha256(blob)}", "size": len(blob)}


def _name(target: str) -> str:
    return ":".join(reference(target))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

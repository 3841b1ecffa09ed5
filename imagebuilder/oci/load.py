"""From a file or directory to an Image: whose layers are all there, and are what they should be.

Specifications: OCI image layout, index, manifest and configuration (github.com/opencontainers/
image-spec, 1.1); for `docker save` moby's `image/spec/v1.2.md`. Several images, as for several
architectures, are in one index; which of them is meant is found out here.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagebuilder import given
from imagebuilder.errors import ConfigError
from imagebuilder.oci.model import Blob, Image, Layer

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
CHUNK = 1 << 20
LARGEST_DOCUMENT = 16 << 20


class Source:
    """The files of an image by name, in a directory or in an archive that is not compressed."""

    def __init__(self, path: Path) -> None:
        """Raise ConfigError if there is neither at `path`."""
        self.path = path
        self.members: Mapping[str, Blob] = {} if path.is_dir() else _members(path)

    def find(self, name: str, digest: str = "") -> Blob:
        """The file of this name; raise ConfigError if there is none."""
        if not self.path.is_dir():
            blob = self.members.get(name)
            if blob:
                return Blob(file=blob.file, start=blob.start, length=blob.length, digest=digest)
        elif (file := self.path / name).is_file():
            return Blob(file=file, start=0, length=file.stat().st_size, digest=digest)
        raise self.wrong(f"lacks {name}", "copy or download it again")

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).is_file() if self.path.is_dir() else name in self.members

    def wrong(self, what: str, hint: str = "") -> ConfigError:
        """The error that says what is wrong with this image."""
        return ConfigError(f"the container image {what}", where=str(self.path), hint=hint)


def load(path: Path, architecture: str) -> Image:
    """The image at `path` for `architecture`, every byte of it checked; raise ConfigError."""
    source = Source(path)
    if source.has("index.json"):
        return _from_index(source, _document(source, source.find("index.json")), architecture)
    if source.has("manifest.json"):
        return _from_docker(source, architecture)
    raise source.wrong(
        "is none: there is neither index.json nor manifest.json",
        "it can be an OCI layout (a directory, or an archive of it) or what 'docker save' writes",
    )


def _members(path: Path) -> dict[str, Blob]:
    try:
        given.check_file(path)
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except FileNotFoundError as error:
        raise ConfigError("there is no container image", where=str(path)) from error
    except (tarfile.TarError, OSError) as error:
        raise ConfigError(
            f"not a container image: {error}",
            where=str(path),
            hint="it must be a directory, or an archive that is not compressed",
        ) from error
    files = {_plain(member.name): _blob_of(path, member) for member in members if member.isreg()}
    links = {  # docker save writes them for layers that are the same as others
        _plain(member.name): _plain(f"{posixpath.dirname(member.name)}/{member.linkname}")
        for member in members
        if member.issym()
    }
    return {**{name: files[to] for name, to in links.items() if to in files}, **files}


def _plain(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _blob_of(path: Path, member: tarfile.TarInfo) -> Blob:
    return Blob(file=path, start=member.offset_data, length=member.size)


def _from_index(source: Source, index: Mapping[str, Any], architecture: str) -> Image:
    descriptors = index.get("manifests", [])
    fitting = [one for one in descriptors if _fits(one, architecture)]
    if len(fitting) != 1:
        what = "has no image" if not fitting else f"has {len(fitting)} images"
        known = sorted({
            (one.get("platform") or {}).get("architecture", "?") for one in descriptors
        })
        raise source.wrong(
            f"{what} for {architecture}",
            f"it has: {', '.join(known)}"
            if not fitting
            else "copy the one that is wanted by its tag",
        )
    (descriptor,) = fitting
    document = _document(source, _blob(source, descriptor))
    if descriptor.get("mediaType") in INDEXES or "manifests" in document:
        return _from_index(source, document, architecture)
    configuration = _document(source, _blob(source, document["config"]))
    blobs = [_blob(source, layer) for layer in document["layers"]]
    return _image(source, configuration, blobs, architecture)


def _fits(descriptor: Mapping[str, Any], architecture: str) -> bool:
    platform = descriptor.get("platform") or {}
    annotations = descriptor.get("annotations") or {}
    if annotations.get("vnd.docker.reference.type"):
        return False  # an attestation
    return bool(platform.get("architecture", architecture) == architecture)


def _from_docker(source: Source, architecture: str) -> Image:
    manifests = _document(source, source.find("manifest.json"))
    if len(manifests) != 1:
        raise source.wrong(f"has {len(manifests)} images", "save the one that is wanted alone")
    (manifest,) = manifests
    name = manifest["Config"]
    digest = name.removesuffix(".json").removeprefix("blobs/sha256/")
    configuration = _document(source, source.find(name, f"sha256:{digest}"))
    blobs = [source.find(layer) for layer in manifest["Layers"]]
    return _image(source, configuration, blobs, architecture)


def _image(
    source: Source, configuration: Mapping[str, Any], blobs: list[Blob], architecture: str
) -> Image:
    found = configuration.get("architecture", architecture)
    if found != architecture:
        raise source.wrong(f"is for {found}, not for {architecture}")
    contents = configuration.get("rootfs", {}).get("diff_ids", [])
    if len(contents) != len(blobs):
        raise source.wrong(f"has {len(blobs)} layers, and digests of {len(contents)}")
    for blob in blobs:
        _check(source, blob)
    layers = zip(blobs, contents, strict=True)
    return Image(
        architecture=found,
        layers=tuple(Layer(blob=blob, content=content) for blob, content in layers),
    )


def _blob(source: Source, descriptor: Mapping[str, Any]) -> Blob:
    digest = str(descriptor.get("digest", ""))
    algorithm, _, value = digest.partition(":")
    if algorithm not in ("sha256", "sha512") or not value.isalnum():
        raise source.wrong(f"names a file by {digest!r}, which is no digest that is known")
    blob = source.find(f"blobs/{algorithm}/{value}", digest)
    if blob.length != descriptor.get("size", blob.length):
        raise _damaged(source, blob)
    return blob


def _document(source: Source, blob: Blob) -> Any:
    """A JSON document of the image, once its digest is right."""
    if blob.length > LARGEST_DOCUMENT:
        raise source.wrong(f"has a description of {blob.length} bytes")
    _check(source, blob)
    with blob.file.open("rb") as file:
        file.seek(blob.start)
        try:
            return json.loads(file.read(blob.length))
        except ValueError as error:
            raise source.wrong(f"has a description that is not JSON: {error}") from error


def _check(source: Source, blob: Blob) -> None:
    """Raise ConfigError unless the blob has its digest, if it has one."""
    algorithm, _, wanted = blob.digest.partition(":")
    if not wanted:
        return
    digest, left = hashlib.new(algorithm), blob.length
    with blob.file.open("rb") as file:
        file.seek(blob.start)
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != wanted:
        raise _damaged(source, blob)


def _damaged(source: Source, blob: Blob) -> ConfigError:
    return source.wrong(
        f"is damaged: {blob.digest[:19]}... is not what its digest says",
        "copy or download it again",
    )

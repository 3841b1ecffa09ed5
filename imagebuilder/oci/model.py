"""An image in a file or directory, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes of an image: a file, or a part of an archive. `digest` is like `sha256:...`."""

    file: Path
    start: int
    length: int
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A tar archive of changes; `content` is the digest of its bytes when not compressed."""

    blob: Blob
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one architecture, in Go's words (`amd64`, `arm64`)."""

    architecture: str
    layers: tuple[Layer, ...]

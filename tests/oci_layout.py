"""Container images for tests, as OCI layouts in directories."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def layer(files: Mapping[str, str | None]) -> bytes:
    """A layer: `None` is a directory, `->` a symlink and `=>` a hard link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mtime, member.uid, member.gid, member.mode = 1700000000, 7, 8, 0o754
            content = b""
            if text is None:
                member.type = tarfile.DIRTYPE
            elif text[:2] in ("->", "=>"):
                member.type = tarfile.SYMTYPE if text[0] == "-" else tarfile.LNKTYPE
                member.linkname = text[2:]
            else:
                content = text.encode()
                member.pax_headers = {"SCHILY.xattr.user.note": "noted"}
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


SMALL = 1 << 20  # bytes: layers that are worth compressing in a test


class Layout:
    """An OCI layout in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, architecture: str, layers: Sequence[bytes]) -> dict[str, Any]:
        kind = "application/vnd.oci.image"
        diffs = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]
        configuration = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": self.blob(json.dumps(configuration).encode(), f"{kind}.config.v1+json"),
            "layers": [
                self.blob(gzip.compress(each, 1, mtime=0), f"{kind}.layer.v1.tar+gzip")
                if len(each) < SMALL
                else self.blob(each, f"{kind}.layer.v1.tar")
                for each in layers
            ],
        }
        found = self.blob(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
        return {**found, "platform": {"architecture": architecture, "os": "linux"}}

    def finish(self, *images: dict[str, Any]) -> Path:
        index = {"schemaVersion": 2, "manifests": list(images)}
        (self.root / "index.json").write_text(json.dumps(index))
        return self.root

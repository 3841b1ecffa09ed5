"""A NoCloud seed: the small disk from which cloud-init takes what it is to do.

Format: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html - a filesystem
labelled CIDATA with the files meta-data and user-data, and optionally more.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imagebuilder import given
from imagebuilder.errors import ConfigError
from imagebuilder.machine.errand import Errand
from imagebuilder.process import Command, Runner

LABEL = "CIDATA"
KNOWN = ("user-data", "meta-data", "network-config", "vendor-data")
SPARE = 2**20  # bytes for the tables of a FAT filesystem that small


def load(path: Path) -> dict[str, bytes]:
    """The files of a seed: a directory's, or one file of user-data; raise ConfigError."""
    try:
        if not path.is_dir():
            return {"user-data": given.read(path)}
        files = {name: (path / name).read_bytes() for name in KNOWN if (path / name).is_file()}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not files:
        raise ConfigError(
            "is no seed: it has no user-data", where=str(path), hint=f"files: {', '.join(KNOWN)}"
        )
    return files


def files(given: Mapping[str, bytes], errand: Errand | None, instance: str) -> dict[str, bytes]:
    """The whole content of a seed: what was given, the errand, and a name for the instance."""
    meta = f"instance-id: {instance}\nlocal-hostname: imagebuilder\n"
    content = {"user-data": b"", "meta-data": meta.encode()} | dict(given)
    if errand:
        content["user-data"] = _joined(content["user-data"], errand.script())
    return content


def make(content: Mapping[str, bytes], image: Path, run: Runner) -> None:
    """Write a seed with `content` as a FAT filesystem at `image`."""
    size = SPARE + sum(map(len, content.values()))
    run(Command(("mkfs.vfat", "-C", "-n", LABEL, os.fspath(image), str(-(-size // 1024)))))
    with tempfile.TemporaryDirectory(prefix="imagebuilder-seed-") as directory:
        sources = [Path(directory, name) for name in sorted(content)]
        for source in sources:
            source.write_bytes(content[source.name])
        run(
            Command(
                ("mcopy", "-i", os.fspath(image), *map(os.fspath, sources), "::/"),
                env={"MTOOLS_SKIP_CHECK": "1"},
            )
        )


def _joined(user_data: bytes, script: str) -> bytes:
    if not user_data.strip():
        return script.encode()
    try:
        parts = [{"content": user_data.decode()}, {"content": script}]
    except UnicodeDecodeError as error:
        raise ConfigError(
            "the user-data is not text, so that no command can be added to it",
            hint="give it uncompressed, or leave out the command",
        ) from error
    return b"#cloud-config-archive\n" + json.dumps(parts, indent=1).encode()

"""What is known of a disk that is attached, in the files of diskimage-builder's `dib-block-device`.

`config.json` is the document in graph notation, and `state.json` what has been made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imagebuilder import schema
from imagebuilder.disk import entry, load
from imagebuilder.disk.fstab import fields
from imagebuilder.disk.model import Defaults, Disk, Filesystem
from imagebuilder.errors import ConfigError
from imagebuilder.hooks import phase
from imagebuilder.sizes import Size

BUILD = "build"  # the owner of a disk that a running build has made
OF_CONFIGURATION: Mapping[str, Callable[[Disk], str]] = {
    "root-label": lambda disk: disk.root.label,
    "root-fstype": lambda disk: disk.root.type,
    "boot-label": lambda disk: next(
        (f.label for f in disk.mounted if f.mount_point == "/boot"), ""
    ),
    "mount-points": lambda disk: "|".join(disk.mount_points),
}
OF_STATE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "image-path": lambda made: str(made["image0"]["image"]),
    "image-block-device": lambda made: str(made["image0"]["device"]),
    "image-block-devices": lambda made: "".join(
        f" [{name}]={about['device']} " for name, about in made.items()
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The file that `--params` or DIB_BLOCK_DEVICE_PARAMS_YAML names."""

    config: Path
    build_dir: Path
    image_dir: Path
    mount_base: Path
    defaults: Defaults
    image_size: Size | None = None

    @property
    def directory(self) -> Path:
        """Where configuration and state are kept."""
        return self.build_dir / "states" / "block-device"

    @property
    def disk(self) -> Disk:
        """The disk that the configuration describes."""
        return load.load(schema.read(self.config, lenient=True), self.defaults)


def parameters(path: Path) -> Parameters:
    """Read a file of parameters; raise ConfigError for one that is none."""
    document = schema.read(path)
    given = schema.check(document, "build/schemas/block-device-params.json")
    size = given.get("image-size")
    return Parameters(
        config=Path(given["config"]),
        build_dir=Path(given["build-dir"]),
        image_dir=Path(given.get("image-dir") or given["build-dir"]),
        mount_base=Path(given.get("mount-base") or Path(given["build-dir"], "mnt")),
        image_size=Size.parse(str(size), where=str(path)) if size is not None else None,
        defaults=Defaults(
            image="image0",
            root_type=given.get("root-fs-type") or "ext4",
            root_label=given.get("root-label") or "",
            root_options=tuple((given.get("root-fs-opts") or "").split()),
        ),
    )


def write_configuration(given: Parameters) -> None:
    """Check the configuration, and write it in graph notation."""
    document = schema.read(given.config, lenient=True)
    load.load(document, given.defaults)
    listed = entry.canonical(load.entries_of(document, given.defaults))
    given.directory.mkdir(parents=True, exist_ok=True)
    (given.directory / "config.json").write_text(json.dumps(listed))


def value(given: Parameters, symbol: str) -> str:
    """What `getval` prints; raise ConfigError for what is not known, or not yet."""
    if symbol in OF_CONFIGURATION:
        return OF_CONFIGURATION[symbol](given.disk)
    made = read(given)["blockdev"]
    if symbol not in OF_STATE:
        raise ConfigError(
            f"Invalid symbol [{symbol}] for getval",
            hint=f"there are {', '.join((*OF_CONFIGURATION, *OF_STATE))}",
        )
    return OF_STATE[symbol](made)


def read(given: Parameters) -> dict[str, Any]:
    """The state; raise ConfigError if nothing has been made."""
    file = given.directory / "state.json"
    if not file.is_file():
        raise ConfigError("State dump not found", where=str(file), hint="'create' makes the disk")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def write(given: Parameters, state: Mapping[str, Any]) -> None:
    """Write the state."""
    given.directory.mkdir(parents=True, exist_ok=True)
    (given.directory / "state.json").write_text(json.dumps(state))


HELPER = """\
import sys

sys.path[:0] = {modules!r}

from {module} import main

sys.exit(main(sys.argv[1:]))
"""
HELPERS = {
    "dib-block-device.py": "imagebuilder.cli.block_device",
    "element-info.py": "diskimage_builder.element_dependencies",
    "run-imagebuilder.py": "imagebuilder.cli.verbs",
}


def write_helpers(library: Path) -> None:
    """Write the Python programs that hooks know in `$_LIB`."""
    library.mkdir(parents=True, exist_ok=True)
    for name, module in HELPERS.items():
        text = HELPER.format(modules=list(phase.MODULES), module=module)
        (library / name).write_text(text)


def announce(file: Path, document: schema.Document, defaults: Defaults, tree: Path) -> Parameters:
    """Write what a build's hooks need to ask about its disk: parameters and configuration."""
    config = file.with_name("config.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.serialize(document.node))  # as it is spelled: 0700 is a type
    given = {
        "config": str(config),
        "build-dir": str(file.parents[1]),
        "image-dir": str(file.parents[1] / "image"),
        "mount-base": str(tree),
        "root-fs-type": defaults.root_type,
        "root-fs-opts": " ".join(defaults.root_options),
        "root-label": defaults.root_label or None,
    }
    file.write_text(json.dumps(given))
    found = parameters(file)
    write_configuration(found)
    return found


def describe(
    disk: Disk, images: Mapping[str, Path], devices: Mapping[str, Path], base: Path
) -> dict[str, Any]:
    """The state of a disk whose filesystems are mounted below `base`."""
    return {
        "blockdev": {
            name: {"device": str(device)} | ({"image": str(images[name])} if name in images else {})
            for name, device in devices.items()
        },
        "fs_labels": [fs.label for fs in disk.filesystems],
        "filesys": {fs.name: _filesystem(fs, devices) for fs in disk.filesystems},
        "mount": {fs.mount_point: _mount(fs, base) for fs in disk.filesystems if fs.mount_point},
        "mount_order": [fs.mount_point for fs in _in_order(disk)],
        "sorted_mount_points": [[fs.mount_point, f"mount_{fs.name}"] for fs in _in_order(disk)],
        "fstab": {
            f"mount_{fs.name}": {
                "name": f"fstab_mount_{fs.name}",
                "base": f"mount_{fs.name}",
                **dict(zip(("options", "dump-freq", "fsck-passno"), fields(fs), strict=True)),
            }
            for fs in disk.filesystems
            if fs.in_fstab
        },
    }


def _filesystem(fs: Filesystem, devices: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "uuid": str(fs.uuid),
        "label": fs.label,
        "fstype": fs.type,
        "opts": list(fs.options) or None,
        "device": str(devices.get(fs.base, "")),
    }


def _mount(fs: Filesystem, base: Path) -> dict[str, str]:
    path = "none" if fs.mount_point == "none" else str(base / fs.mount_point.lstrip("/"))
    return {"name": f"mount_{fs.name}", "base": fs.name, "path": path}


def _in_order(disk: Disk) -> list[Filesystem]:
    points = [fs for fs in disk.filesystems if fs.mount_point]
    return sorted(points, key=lambda fs: fs.mount_point)

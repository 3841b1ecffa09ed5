"""Where a build happens, and what hooks are told about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = "imagebuilder/downloads"  # in the hooks tree, for hooks that run in the root tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The directories of one build, all below `scratch`."""

    scratch: Path

    @property
    def tree(self) -> Path:
        """The root tree."""
        return self.scratch / "mnt"

    @property
    def hooks(self) -> Path:
        """The merged hooks tree."""
        return self.scratch / "hooks"

    @property
    def medium(self) -> Path:
        """What `media.d` and `initrd.d` make: `tree`, the files of a CD, and `initrd`."""
        return self.scratch / "medium"

    @property
    def images(self) -> Path:
        """Where disks and the contents of their filesystems wait to become outputs."""
        return self.scratch / "image"

    @property
    def disk_parameters(self) -> Path:
        """What `dib-block-device` reads to know about the disk."""
        return self.scratch / "block-device" / "params.yaml"

    @property
    def downloads(self) -> Path:
        """The download cache for hooks on the host: `store`, which is read-only, and `new`."""
        return self.scratch / "downloads"

    @property
    def fetched(self) -> Path:
        """What is `new` for hooks in the root tree."""
        return self.scratch / "fetched"

    def make(self) -> None:
        """Make the directories."""
        for directory in (self.tree, self.hooks, self.images):
            directory.mkdir(mode=0o755)

    def variables(self) -> dict[str, str]:
        """The variables that name these directories."""
        return {
            "DIB_BLOCK_DEVICE_PARAMS_YAML": str(self.disk_parameters),
            "TMP_BUILD_DIR": str(self.scratch),
            "TMP_IMAGE_DIR": str(self.images),
            "TMP_HOOKS_PATH": str(self.hooks),
            "TMP_MOUNT_PATH": str(self.tree),
        }

"""The version, as scripts ask diskimage-builder for it."""

from __future__ import annotations

from imagebuilder import __version__


class VersionInfo:
    """What scripts call of `pbr.version.VersionInfo`."""

    def version_string(self) -> str:
        return __version__

    def release_string(self) -> str:
        return __version__

    def __str__(self) -> str:
        return __version__


version_info = VersionInfo()

"""What distributions call a package: the `pkg-map` file of an element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagebuilder.element import documents

FAMILIES = {
    "almalinux": "redhat",
    "centos": "redhat",
    "fedora": "redhat",
    "openeuler": "redhat",
    "rhel": "redhat",
    "rocky": "redhat",
    "debian": "debian",
    "ubuntu": "debian",
    "opensuse": "suse",
    "gentoo": "gentoo",
}
MAJOR_RELEASES = {"8-stream": "8"}
ANY = "-"  # in the place of a distribution or release that a section does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageMap:
    """The sections of a pkg-map, with the names that each gives to packages."""

    release: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    distro: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    family: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    default: Mapping[str, str] = field(default_factory=dict)

    def names(self, name: str, distribution: str, release: str) -> tuple[str, ...] | None:
        """What to install for `name`, which may be nothing; None if the map does not say."""
        sections = (
            self.release.get((distribution, MAJOR_RELEASES.get(release, release)), {}),
            self.distro.get(distribution, {}),
            self.family.get(FAMILIES.get(distribution, ""), {}),
            self.default,
        )
        return next((tuple(names[name].split()) for names in sections if name in names), None)


def load(path: Path) -> PackageMap:
    """The map in the file at `path`; raise ConfigError if it is not one."""
    value = documents.read(path).value
    return PackageMap(
        release={
            (distribution, release): _texts(names)
            for distribution, releases in value.get("release", {}).items()
            for release, names in releases.items()
        },
        distro={name: _texts(names) for name, names in value.get("distro", {}).items()},
        family={name: _texts(names) for name, names in value.get("family", {}).items()},
        default=_texts(value.get("default", {})),
    )


def flatten(package_map: PackageMap) -> str:
    """A sorted line per entry, for a program that has no JSON parser.

    Its fields, with tabs between them: section, distribution or family, release, name, and the
    names to install with spaces between them. A section without the second or third has `-`.
    """
    sections = [
        ("default", ANY, ANY, package_map.default),
        *(("family", key, ANY, names) for key, names in package_map.family.items()),
        *(("distro", key, ANY, names) for key, names in package_map.distro.items()),
        *(("release", *keys, names) for keys, names in package_map.release.items()),
    ]
    rows = [(*place, *entry) for *place, names in sections for entry in names.items()]
    return "".join("\t".join(row) + "\n" for row in sorted(rows))


def _texts(names: Mapping[str, str | None]) -> dict[str, str]:
    return {name: " ".join((mapped or "").split()) for name, mapped in names.items()}

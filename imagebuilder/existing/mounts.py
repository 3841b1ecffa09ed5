"""Where the filesystems of a disk belong: what `/etc/fstab` (fstab(5)) of its root says.

An image whose fstab is silent about the EFI system partition or XBOOTLDR gets them where the
Discoverable Partitions Specification has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imagebuilder.existing.model import ESP, XBOOTLDR, Area, Mounting

ROOT_TYPES = (
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",  # Discoverable Partitions: root on x86-64
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",  # on ARM64
    "44479540-F297-41B2-9AF7-D131D5F0458A",  # on x86
    "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",  # on ARM32
    "72EC70A6-CF74-40E6-BD49-4BDA08E8F224",  # on RISC-V 64
)
ROOTS = ("ext4", "xfs", "btrfs", "ext3", "ext2", "squashfs", "erofs")
OWN = ("vfat", *ROOTS)
BOOT_PARTITIONS = ((XBOOTLDR, ("/boot",)), (ESP, ("/boot/efi", "/efi")))
ESCAPE = re.compile(r"\\([0-7]{3})")
DEVICE = re.compile(r"/dev/(?:[a-z]+|nvme\d+n\d+p|mmcblk\d+p)(\d+)")
BY = {"uuid": "UUID", "label": "LABEL", "partuuid": "PARTUUID", "partlabel": "PARTLABEL"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of fstab that mounts something."""

    source: str
    point: str
    type: str
    options: tuple[str, ...]


def candidates(areas: Iterable[Area]) -> tuple[Area, ...]:
    """The areas that may be the root, the likeliest first."""
    able = [area for area in areas if area.content and area.content.type in ROOTS]
    named = [area for area in able if area.type in ROOT_TYPES]
    others = [area for area in able if area not in named and area.type != XBOOTLDR]
    return (*named, *others, *(area for area in able if area.type == XBOOTLDR))


def lines(text: str) -> Iterator[Line]:
    """The lines of an fstab."""
    for row in text.splitlines():
        fields = [ESCAPE.sub(_unescaped, field) for field in row.split("#")[0].split()]
        if len(fields) >= 2:
            source, point, kind, options, *_ = [*fields, "auto", "defaults"]
            yield Line(source, point, kind, tuple(options.split(",")))


def plan(root: Area, areas: Iterable[Area], fstab: str) -> tuple[tuple[Mounting, ...], list[str]]:
    """What to mount below the root, outermost first; and the sources that cannot be found."""
    everything = tuple(areas)
    found: dict[str, Mounting] = {}
    missing: list[str] = []
    for line in lines(fstab):
        if not line.point.startswith("/") or line.point == "/" or line.source.startswith("//"):
            continue
        area = resolve(line.source, everything)
        if area is None:
            if _on_a_disk(line.source):
                missing.append(f"{line.source} on {line.point}")
        elif area.content and area.content.type in OWN:
            found[line.point] = Mounting(
                area=area, point=line.point, subvolume=_subvolume(line.options)
            )
    taken = {root, *(each.area for each in found.values())}
    for kind, points in BOOT_PARTITIONS:
        left = [a for a in everything if a.type == kind and a not in taken and a.content]
        if left and not set(points) & found.keys():
            found[points[0]] = Mounting(area=left[0], point=points[0])
    return tuple(found[point] for point in sorted(found)), missing


def root_subvolume(fstab: str) -> str:
    """The subvolume that fstab mounts as the root; empty if it names none."""
    return next((_subvolume(line.options) for line in lines(fstab) if line.point == "/"), "")


def resolve(source: str, areas: Iterable[Area]) -> Area | None:
    """The area that a source like `UUID=...` or `/dev/vda1` means."""
    kind, _, value = source.replace('"', "").partition("=")
    if source.startswith("/dev/disk/by-"):
        name, _, value = source.removeprefix("/dev/disk/by-").partition("/")
        kind = BY.get(name, "")
    if device := DEVICE.fullmatch(source):
        return next((area for area in areas if area.number == int(device[1])), None)
    for area in areas:
        label, uuid = (area.content.label, area.content.uuid) if area.content else ("", "")
        if value and value.lower() == {"UUID": uuid, "PARTUUID": area.uuid}.get(kind, "").lower():
            return area
        if value and value == {"LABEL": label, "PARTLABEL": area.name}.get(kind, ""):
            return area
    return None


def _on_a_disk(source: str) -> bool:
    return source.startswith("/dev/") or "=" in source.split("/")[0]


def _subvolume(options: Iterable[str]) -> str:
    return next((o.removeprefix("subvol=") for o in options if o.startswith("subvol=")), "")


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))

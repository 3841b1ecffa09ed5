"""The `lvm` plugin of a block-device document: physical volumes, groups and logical volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict
from uuid import UUID

from imagebuilder.disk import lvm
from imagebuilder.disk.entry import Entry
from imagebuilder.disk.model import Kind, LogicalVolume, Of, PhysicalVolume, VolumeGroup
from imagebuilder.sizes import Size

# What diskimage-builder says where something is missing: (kind of entry, key, message).
MISSING = (
    ("lvm", "name", "Lvm config requires 'name'"),
    ("lvm", "pvs", "Lvm config requires a 'pvs'"),
    ("lvm", "vgs", "Lvm config needs 'vgs'"),
    ("lvm", "lvs", "Lvm config needs 'lvs'"),
    ("pv", "name", "Missing 'name' in pvs config"),
    ("pv", "base", "Missing 'base' in pvs_config"),
    ("vg", "name", "Missing 'name' in vgs config"),
    ("vg", "base", "Missing 'base' in vgs config"),
    ("lv", "name", "Missing 'name' in lvs config"),
    ("lv", "base", "Missing 'base' in lvs config"),
)
TYPES = ("thin", "thin-pool")
STEP = 4 * 2**20  # what diskimage-builder rounds a size down to
RESERVED = re.compile(r"(snapshot|pvmove).*|.*_(tmeta|tdata|cdata|cmeta|pmspare|mlog|mimage).*")
# What `options` may say: an option's other name, and whether a value follows it.
ALIASES = {
    "-f": "--force", "-ff": "--force", "-y": "--yes", "-Z": "--zero", "-q": "--quiet",
    "-W": "--wipesignatures", "-s": "--physicalextentsize", "-c": "--chunksize",
}  # fmt: skip
WITHOUT_EFFECT = {"--force": 0, "--yes": 0, "--quiet": 0, "--zero": 1, "--wipesignatures": 1}
WITH_EFFECT = {
    "pv": ("--dataalignment",),
    "vg": ("--physicalextentsize", "--addtag"),
    "lv": ("--chunksize", "--addtag"),
}
# LVM's units are powers of 1024 in small letters, of 1000 in capitals (lvmreport, lvm(8)).
UNIT = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB", "s": "", "b": ""}


class Volumes(TypedDict):
    """The fields of a Disk that come from here."""

    physical_volumes: tuple[PhysicalVolume, ...]
    groups: tuple[VolumeGroup, ...]
    volumes: tuple[LogicalVolume, ...]


def check(entry: Entry) -> None:
    """Raise diskimage-builder's own error for what an `lvm` entry lacks."""
    for kind, key, message in MISSING:
        if entry.kind == kind and key not in entry.value:
            raise entry.fail(message)
    if entry.kind == "lv":
        if not {"size", "extents"} & {*entry.value}:
            raise entry.fail("Missing 'size' or 'extents' in lvs config")
        if entry.value.get("type", TYPES[0]) not in TYPES:
            raise entry.fail(
                f"Unsupported type:{entry.value['type']}, supported types: {', '.join(TYPES)}",
                "type",
            )


def check_references(entries: Sequence[Entry]) -> None:
    """Raise ConfigError where groups, volumes and pools do not fit together."""
    of = {kind: {e.name: e for e in entries if e.kind == kind} for kind in ("pv", "vg", "lv")}
    _check_groups(of["vg"], of["pv"])
    _check_one_device(of["vg"], {entry.name: entry for entry in entries if "name" in entry.value})
    for volume in of["lv"].values():
        if volume.base not in of["vg"]:
            raise volume.fail(f"base:{volume.base} in lvs does not match a valid vg", "base")
        _check_pool(volume, of["lv"])
    for filesystem in (entry for entry in entries if entry.kind == "mkfs"):
        below = of["lv"].get(filesystem.base)
        if below and below.value.get("type") == "thin-pool":
            raise filesystem.fail(f"{below.name!r} is a thin pool, and holds no filesystem", "base")


def load(entries: Sequence[Entry], identity: UUID) -> Volumes:
    """The volumes of all `lvm` entries; raise ConfigError with the place of what is wrong."""
    return Volumes(
        physical_volumes=tuple(_physical(e, identity) for e in entries if e.kind == "pv"),
        groups=tuple(_group(entry, identity) for entry in entries if entry.kind == "vg"),
        volumes=tuple(_volume(entry, identity) for entry in entries if entry.kind == "lv"),
    )


def _check_groups(groups: Mapping[str, Entry], physical: Mapping[str, Entry]) -> None:
    users: dict[str, str] = {}
    for group in groups.values():
        for base in group.bases:
            if base not in physical:
                raise group.fail(f"base:{base} in vgs does not match a valid pvs", "base")
            if users.setdefault(base, group.name) != group.name:
                raise group.fail(f"{base!r} is already used by {users[base]!r}", "base")


def _check_one_device(groups: Mapping[str, Entry], known: Mapping[str, Entry]) -> None:
    """A group on two disk images would be of no use: only one of them becomes the output."""
    for group in groups.values():
        below = [known[base].base for base in group.bases]
        devices = {known[name].base or name for name in below if name in known}
        if len(devices) > 1:
            raise group.fail(f"lies on several devices: {', '.join(sorted(devices))}", "base")


def _check_pool(volume: Entry, volumes: Mapping[str, Entry]) -> None:
    kind, pool = volume.value.get("type"), volume.value.get("thin-pool")
    if kind != "thin":
        if pool is not None:
            raise volume.fail("only a volume of type thin lies in a thin-pool", "thin-pool")
        return
    below = volumes.get(str(pool))
    if below is None or below.value.get("type") != "thin-pool" or below.base != volume.base:
        raise volume.fail(
            f"{pool!r} is no thin pool of {volume.base!r}"
            if pool
            else "a thin volume needs a pool",
            "thin-pool",
            hint="name a logical volume of type thin-pool in the same group",
        )
    if "%" in str(volume.value.get("extents", "")):
        raise volume.fail("a thin volume has a size, or a number of extents", "extents")


def _physical(entry: Entry, identity: UUID) -> PhysicalVolume:
    options = dict(_options(entry))
    start = options.get("--dataalignment")
    return PhysicalVolume(
        name=entry.name,
        base=entry.base,
        start=_lvm_size(entry, start, least=lvm.START) if start else lvm.START,
        uuid=entry.uuid(identity),
    )


def _group(entry: Entry, identity: UUID) -> VolumeGroup:
    _check_name(entry, longest=127)
    options = list(_options(entry))
    extent = dict(options).get("--physicalextentsize")
    return VolumeGroup(
        name=entry.name,
        bases=entry.bases,
        extent=_lvm_size(entry, extent, least=Size(4096)) if extent else lvm.EXTENT,
        uuid=entry.uuid(identity),
        tags=tuple(value.removeprefix("@") for name, value in options if name == "--addtag"),
    )


def _volume(entry: Entry, identity: UUID) -> LogicalVolume:
    _check_name(entry, longest=100)
    if RESERVED.fullmatch(entry.name):
        raise entry.fail(f"LVM keeps names like {entry.name!r} for itself", "name")
    options = list(_options(entry))
    chunk = dict(options).get("--chunksize")
    return LogicalVolume(
        name=entry.name,
        group=entry.base,
        uuid=entry.uuid(identity),
        kind=Kind(entry.value.get("type", "linear")),
        pool=str(entry.value.get("thin-pool", "")),
        chunk=_lvm_size(entry, chunk, least=Size(64 * 2**10)) if chunk else None,
        tags=tuple(value.removeprefix("@") for name, value in options if name == "--addtag"),
        **_amount(entry),
    )


def _amount(entry: Entry) -> dict[str, Any]:
    """How large it is to be: `size` wins over `extents`, as in diskimage-builder."""
    if "size" in entry.value:
        size = Size(entry.size("size") // STEP * STEP)
        if not size:
            raise entry.fail("a size of less than 4 MiB", "size")
        return {"size": size}
    text = str(entry.value["extents"]).strip()
    match = re.fullmatch(r"\+?(\d+(?:\.\d+)?)(?:%(VG|FREE|PVS))?", text)
    if not match or not float(match[1]) or (not match[2] and "." in match[1]):
        raise entry.fail(
            f"not a number of extents: {text!r}", "extents", hint="write it like 250 or 40%VG"
        )
    if not match[2]:
        return {"extents": int(match[1])}
    if float(match[1]) > 100:
        raise entry.fail(f"{text} is more than there is", "extents")
    return {"percent": float(match[1]), "of": Of(match[2])}


def _options(entry: Entry) -> Iterator[tuple[str, str]]:
    """The options that have an effect here, each with its value; raise ConfigError for others."""
    given = entry.value.get("options") or []
    words = [part for word in given for part in str(word).replace("=", " ", 1).split()]
    wanted = iter(words)
    known = {*WITHOUT_EFFECT, *WITH_EFFECT[entry.kind]}
    for word in wanted:
        name = ALIASES.get(word, word)
        if name not in known:
            raise entry.fail(
                f"the option {word!r} is not understood here",
                "options",
                hint=f"known: {', '.join(sorted(known))}",
            )
        value = next(wanted, "") if WITHOUT_EFFECT.get(name, 1) else ""
        if name in WITH_EFFECT[entry.kind]:
            yield name, value


def _lvm_size(entry: Entry, text: str, *, least: Size) -> Size:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtsb]?)i?b?", text, re.IGNORECASE)
    if not match:
        raise entry.fail(f"not a size: {text!r}", "options", hint="write it like 8MiB or 64k")
    number, unit = match[1], match[2].lower() or "m"
    size = Size(Size.parse(f"{number}{UNIT[unit]}") * (512 if unit == "s" else 1))
    if size < least or size & (size - 1):
        raise entry.fail(f"{text} is not a power of two of at least {least}", "options")
    return size


def _check_name(entry: Entry, longest: int) -> None:
    name = entry.name
    if not re.fullmatch(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*", name) or name in {".", ".."}:
        raise entry.fail(
            f"LVM cannot have the name {name!r}", "name", hint="letters, digits, and + _ . -"
        )
    if len(name) > longest:
        raise entry.fail(f"{name!r} is longer than {longest} characters", "name")

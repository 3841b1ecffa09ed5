"""Proxmox' `answer.toml`, and the file that tells its installer where to look for it.

The keys are those of its manual ("Automated Installation") and of the installer's own source,
`proxmox-auto-installer/src/answer.rs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imagebuilder import schema
from imagebuilder.answers import toml
from imagebuilder.answers.model import Answers, Place, Placement
from imagebuilder.errors import ConfigError
from imagebuilder.process import Runner

SCHEMA = "answers/schemas/proxmox.json"
NAME, MODE, CAPABLE = "answer.toml", "auto-installer-mode.toml", "auto-installer-capable"
START = "proxmox-start-auto-installer"
LABEL = "proxmox-ais"
FROM_ANSWER, FROM_DHCP = "from-answer", "from-dhcp"
STATIC = ("cidr", "dns", "gateway", "filter")
FAMILIES = {"ext4": "lvm", "xfs": "lvm", "zfs": "zfs", "btrfs": "btrfs"}


def check(text: str, where: str, run: Runner) -> tuple[str, ...]:
    """Raise ConfigError for what the installer would not take."""
    del run
    document = toml.parse(text, where)
    value = schema.check(document, SCHEMA)
    for table, own in TABLES.items():
        own(value.get(table, {}), document.place((table,)))
    return ()


def placement(answers: Answers, place: Place, base: str) -> Placement:
    """Where it goes; `base` is the URL to ask, or the partition's label."""
    modes = {
        Place.MEDIUM: 'mode = "iso"\n',
        Place.PARTITION: f'mode = "partition"\npartition_label = "{base or LABEL}"\n',
        Place.NETWORK: f'mode = "http"\n\n[http]\nurl = "{base}/{NAME}"\n',
    }
    return Placement(
        place=place,
        files=((NAME, answers.content),),
        arguments=(START,),
        medium=((MODE, modes[place].encode()),),
        needed=(CAPABLE,),
    )


def _check_password(value: dict[str, Any], where: str) -> None:
    given = {"root-password", "root-password-hashed"} & {key.replace("_", "-") for key in value}
    if len(given) != 1:
        what = "in 'global': needs one of root-password and root-password-hashed"
        raise ConfigError(what, where=where)


def _check_network(value: dict[str, Any], where: str) -> None:
    source = value.get("source", FROM_DHCP)
    wrong = [key for key in STATIC if (key in value) != (source == FROM_ANSWER)]
    if wrong:
        verb = "needs" if source == FROM_ANSWER else "takes no"
        raise ConfigError(f"in 'network': {source} {verb} {', '.join(wrong)}", where=where)


def _check_disks(value: dict[str, Any], where: str) -> None:
    disks = value.get("disk-list", value.get("disk_list", []))
    if bool(disks) == ("filter" in value):
        raise ConfigError("in 'disk-setup': needs one of disk-list and filter", where=where)
    own = FAMILIES[value["filesystem"]]
    if others := sorted({"lvm", "zfs", "btrfs"} & set(value) - {own}):
        what = f"in 'disk-setup': {others[0]} is not for {value['filesystem']}"
        raise ConfigError(what, where=where)
    if own == "lvm" and len(disks) > 1:
        what = f"in 'disk-setup': {value['filesystem']} goes on one disk, not {len(disks)}"
        raise ConfigError(what, where=where)
    if own != "lvm" and "raid" not in value.get(own, {}):
        raise ConfigError(f"in 'disk-setup.{own}': needs raid", where=where)


def _check_hook(value: dict[str, Any], where: str) -> None:
    if value.get("source") == "from-url" and "url" not in value:
        raise ConfigError("in 'first-boot': from-url needs url", where=where)


TABLES: Mapping[str, Callable[[dict[str, Any], str], None]] = {
    "global": _check_password,
    "network": _check_network,
    "disk-setup": _check_disks,
    "first-boot": _check_hook,
}

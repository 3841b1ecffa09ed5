"""Where answers go, and what the kernel is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagebuilder.answers import autoinstall, kickstart, preseed, proxmox
from imagebuilder.answers.model import Answers, Kind, Place, Placement
from imagebuilder.errors import ConfigError

PLACES: Mapping[Kind, tuple[Place, ...]] = {
    Kind.PRESEED: (Place.INITRD, Place.MEDIUM, Place.NETWORK),
    Kind.KICKSTART: (Place.INITRD, Place.MEDIUM, Place.NETWORK),
    Kind.AUTOINSTALL: (Place.MEDIUM, Place.NETWORK),
    Kind.PROXMOX: (Place.MEDIUM, Place.NETWORK, Place.PARTITION),
}
SCHEMES: Mapping[Kind, tuple[str, ...]] = {
    Kind.PRESEED: ("http", "https", "ftp", "tftp"),
    Kind.KICKSTART: ("http", "https", "ftp"),
    Kind.AUTOINSTALL: ("http", "https"),
    Kind.PROXMOX: ("http", "https"),
}
WRITERS: Mapping[Kind, Callable[[Answers, Place, str], Placement]] = {
    Kind.PRESEED: preseed.placement,
    Kind.KICKSTART: kickstart.placement,
    Kind.AUTOINSTALL: autoinstall.placement,
    Kind.PROXMOX: proxmox.placement,
}


def placement(answers: Answers, place: Place, base: str = "") -> Placement:
    """What makes an installer use the answers from `place`.

    `base` is the URL of the directory that they are served from, or the volume id of the medium,
    or the label of the partition. Raise ConfigError for a place that the installer does not look
    at.
    """
    kind = answers.kind
    if place not in PLACES[kind]:
        what = f"{kind.value} is not read from the {place.value}"
        known = ", ".join(each.value for each in PLACES[kind])
        raise ConfigError(what, where=answers.where, hint=f"it is read from: {known}")
    if place is Place.NETWORK:
        scheme, _, rest = base.partition("://")
        if scheme not in SCHEMES[kind] or not rest:
            what = f"{kind.value} is not read from {base!r}"
            hint = f"give a URL: {', '.join(f'{each}://...' for each in SCHEMES[kind])}"
            raise ConfigError(what, where=answers.where, hint=hint)
    return WRITERS[kind](answers, place, base.rstrip("/"))

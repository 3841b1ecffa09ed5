"""What distributions call a service: the `svc-map` files of elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from imagebuilder.element import documents
from imagebuilder.element.model import Element
from imagebuilder.errors import ElementError

FILE = "svc-map"
FAMILIES = dict.fromkeys(
    ("almalinux", "centos", "fedora", "openeuler", "rhel", "rocky"), "redhat"
) | {
    "debian": "debian",
    "ubuntu": "debian",
    "opensuse": "suse",
}


def merge(elements: Iterable[Element], distribution: str) -> Mapping[str, str]:
    """Every service of the elements, sorted, and what the distribution calls it.

    Raise ConfigError for a bad file, and ElementError if two elements map one service.
    """
    merged: dict[str, str] = {}
    for element in elements:
        if not (element.path / FILE).is_file():
            continue
        document = documents.read(element.path / FILE)
        for service, names in (document.value or {}).items():
            if service in merged:
                raise ElementError(
                    f"the service {service!r} is mapped by another element too",
                    where=document.key_place((), service),
                    hint="leave it out of one of them",
                )
            merged[service] = _name(service, names or {}, distribution)
    return dict(sorted(merged.items()))


def _name(service: str, names: Mapping[str, Any], distribution: str) -> str:
    keys = (distribution, FAMILIES.get(distribution, ""), "default")
    return next((str(names[key]) for key in keys if key in names), service)

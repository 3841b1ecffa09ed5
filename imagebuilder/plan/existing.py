"""Which builds change a disk image that is there already, instead of making a disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from imagebuilder import registry
from imagebuilder.element.model import Element
from imagebuilder.errors import ConfigError
from imagebuilder.options import Request

VARIABLE = "DIB_BASE_IMAGE"
LAYOUT = "block-device"  # the name that elements with a layout provide


def image(request: Request, elements: Sequence[Element]) -> Path | None:
    """The image that the build changes; None if it makes a new disk. Raise ConfigError."""
    changing = next((element.name for element in elements if element.existing_disk), "")
    if not changing:
        return None
    for complaint in _complaints(request, elements):
        raise ConfigError(
            f"{complaint}, and element {changing} keeps the disk as it is",
            hint="leave one of the two out",
        )
    name = request.environment.get(VARIABLE, "")
    if not name:
        raise ConfigError(
            "no image is named", where=VARIABLE, hint="set it to the image that is to be changed"
        )
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"there is no file {name!r}", where=VARIABLE, hint="name a disk image")
    return path.absolute()


def _complaints(request: Request, elements: Sequence[Element]) -> Iterator[str]:
    if request.environment.get("DIB_BLOCK_DEVICE_CONFIG"):
        yield "DIB_BLOCK_DEVICE_CONFIG asks for another layout"
    for element in elements:
        if LAYOUT in element.provides or element.name.startswith(f"{LAYOUT}-"):
            yield f"element {element.name} brings a layout"
        if element.name in registry.names("boot"):
            yield f"element {element.name} installs a boot loader"

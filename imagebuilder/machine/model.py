"""Machines, and what became of one, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.sizes import Size


class Firmware(Enum):
    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "uefi with secure boot"


class Medium(Enum):
    """What a machine takes the image for that it starts from."""

    DISK = "disk"  # virtio
    CD = "cd"
    USB = "usb"


class Accelerator(Enum):
    """What executes the machine's code; the values are qemu's `-accel`."""

    KVM = "kvm"
    TCG = "tcg,thread=multi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How qemu is started for one architecture; `cpu` is the one to emulate, so many times.

    The `display` is the graphics card: nobody looks, but a boot loader may ask for one.
    """

    name: str
    program: str
    board: str
    display: str
    cpu: str
    cpus: int
    firmwares: tuple[Firmware, ...]


ARCHITECTURES: Mapping[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            name="x86_64",
            program="qemu-system-x86_64",
            board="q35",
            display="std",
            cpu="max",
            cpus=1,  # two now and then stop the kernel, which changes code that the other one runs
            firmwares=(Firmware.BIOS, Firmware.UEFI, Firmware.SECURE_BOOT),
        ),
        Architecture(
            name="aarch64",
            program="qemu-system-aarch64",
            board="virt",
            display="none",
            cpu="max,pauth-impdef=on",  # the architected pointer authentication halves TCG's speed
            cpus=2,
            firmwares=(Firmware.UEFI,),
        ),
    )
}
MEMORY = Size(2**30)
ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture(name: str) -> Architecture:
    """The row for `x86_64`, `amd64`, `aarch64` or `arm64`; raise ConfigError for another."""
    known = ALIASES.get(name, name)
    if known not in ARCHITECTURES:
        raise ConfigError(
            f"machines of architecture {name!r} cannot be started",
            hint=f"there are: {', '.join(sorted({*ARCHITECTURES, *ALIASES}))}",
        )
    return ARCHITECTURES[known]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine to start from a disk image.

    The image is not written when `snapshot` is set, or when there is an `overlay` (a qcow2 file
    of our own, which holds what the machine writes and starts the same machine again). A
    `disk_size` gives the machine a larger disk than the image, which then is not written either.
    `picture` is where its screen is kept as it is in the end.
    """

    image: Path
    architecture: Architecture = ARCHITECTURES["x86_64"]
    firmware: Firmware = Firmware.BIOS
    accelerator: Accelerator = Accelerator.TCG
    memory: Size = MEMORY
    seed: Path | None = None
    disks: tuple[Path, ...] = ()
    disk_size: Size | None = None
    overlay: Path | None = None
    snapshot: bool = True
    medium: Medium = Medium.DISK
    picture: Path | None = None

    @property
    def lasting(self) -> bool:
        """Whether something of what the machine writes is kept, so that it must shut down."""
        return self.overlay is not None or not self.snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A file as qemu is to open it."""

    file: Path
    format: str
    snapshot: bool = False
    readonly: bool = False
    medium: Medium = Medium.DISK


@dataclass(frozen=True, slots=True, kw_only=True)
class Rom:
    """UEFI firmware: its code, and its variables (a template, or one machine's own copy)."""

    code: Path
    variables: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was prepared on the host for one start of a machine."""

    drives: tuple[Drive, ...]  # the one to start from comes first
    rom: Rom | None = None
    control: Path | None = None  # the socket for QMP


class End(Enum):
    """How following a console ended."""

    FOUND = "found"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a machine; `console` is its text without escape sequences.

    `status` and `output` belong to the command that a seed ran, if there was one. `clean` says
    whether a machine whose disk is kept has shut down by itself.
    """

    end: End
    reason: str = ""
    matched: tuple[str, ...] = ()
    seconds: float = 0.0
    console: str = ""
    status: int | None = None
    output: str = ""
    clean: bool = True

    @property
    def found(self) -> bool:
        """Whether everything came that was expected."""
        return self.end is End.FOUND

"""Does an ISO image start: as a CD and as a disk, by BIOS, UEFI and with Secure Boot?

It has to be seen on the serial console. An installer whose menu names no serial port is tested by
a copy which does, with nothing else changed, and that is said.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path

from imagebuilder.errors import ConfigError
from imagebuilder.iso import roles, tree
from imagebuilder.iso.arguments import ArgumentChange
from imagebuilder.iso.menu import MenuChange
from imagebuilder.iso.model import Iso
from imagebuilder.iso.probe import probe
from imagebuilder.machine import boot
from imagebuilder.machine.console import Watch
from imagebuilder.machine.model import (
    MEMORY,
    Accelerator,
    End,
    Firmware,
    Machine,
    Medium,
    Outcome,
    architecture,
)
from imagebuilder.remaster import iso as story
from imagebuilder.remaster.iso_plan import IsoChanges
from imagebuilder.remaster.output import Target
from imagebuilder.sizes import Size

MODES = {
    "bios-cd": (Firmware.BIOS, Medium.CD),
    "bios-disk": (Firmware.BIOS, Medium.USB),
    "uefi-cd": (Firmware.UEFI, Medium.CD),
    "uefi-disk": (Firmware.UEFI, Medium.USB),
    "sb-cd": (Firmware.SECURE_BOOT, Medium.CD),
    "sb-disk": (Firmware.SECURE_BOOT, Medium.USB),
}
SERIAL = "console=ttyS0"
LOST = "Initramfs unpacking failed"  # the kernel only warns, and goes on with the older files


class Level(Enum):
    """How far it has to come; the values are what is seen on the console then."""

    MENU = r"GNU GRUB|Welcome to GRUB|(ISO|SYS)LINUX \d|iPXE|Booting .*'|Loading Memtest"
    KERNEL = (
        r"Run \S+ as init process|Loading, please wait|systemd\[1\]|Starting system log|"
        r"Begin: |Welcome to (?!GRUB).*!"
    )
    MARKER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is to be tried: `markers` is what the console has to say at MARKER, in this order.

    Consoles and screens are kept in `keep`.
    """

    modes: tuple[str, ...] = tuple(MODES)
    level: Level = Level.KERNEL
    markers: tuple[str, ...] = ()
    timeout: timedelta = timedelta(seconds=600)
    memory: Size = MEMORY
    arch: str = "x86_64"
    accelerator: Accelerator | None = None
    keep: Path | None = None

    def expected(self) -> tuple[re.Pattern[str], ...]:
        """What has to be seen; raise ConfigError for what is no regular expression."""
        wanted = self.markers or (self.level.value,)
        try:
            return tuple(re.compile(expression, re.MULTILINE) for expression in wanted)
        except re.error as error:
            raise ConfigError(
                f"not a regular expression: {error.pattern!r}: {error.msg}", where="--expect"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one mode; `files` are the console and the screen that were kept."""

    mode: str
    passed: bool
    reason: str
    seconds: float
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """All results; `variant` says in what a copy was tested in the image's place."""

    variant: str = ""
    results: list[Result] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all did."""
        return all(result.passed for result in self.results)


def test(image: Path, trial: Trial, tell: Callable[[Result], None]) -> Report:
    """Start the image in every mode; raise ConfigError for an image that is none."""
    expected = trial.expected()
    files = tree.load(probe(image))
    _check(files.iso, trial.modes)
    report = Report()
    with _tested(files, image, trial, report) as tested:
        for mode in trial.modes:
            report.results.append(_tried(tested, mode, trial, expected))
            tell(report.results[-1])
    return report


def _check(iso: Iso, modes: Sequence[str]) -> None:
    if not iso.bootable:
        raise ConfigError("has no boot record (no El Torito, no MBR code)", where=str(iso.path))
    if unknown := [mode for mode in modes if mode not in MODES]:
        hint = f"there are: {', '.join(MODES)}"
        raise ConfigError(f"no mode is called {unknown[0]!r}", where="--mode", hint=hint)


@contextmanager
def _tested(
    files: tree.Tree, image: Path, trial: Trial, report: Report
) -> Generator[Path, None, None]:
    """The image, or a copy whose kernels talk on the serial port."""
    entries = [entry for entry in roles.entries(files) if entry.kernel]
    if trial.level is Level.MENU or not entries or any("ttyS" in e.arguments for e in entries):
        yield image
        return
    wanted = MenuChange(timeout=1, arguments=ArgumentChange(add=(SERIAL,)))
    with tempfile.TemporaryDirectory(prefix="imagebuilder-test-") as directory:
        copy = Path(directory) / "variant.iso"
        story.remaster(image, Target(path=copy), IsoChanges(menus=wanted))
        report.variant = f"with {SERIAL} and a menu that waits for 1 s"
        yield copy


def _tried(image: Path, mode: str, trial: Trial, expected: tuple[re.Pattern[str], ...]) -> Result:
    firmware, medium = MODES[mode]
    guest = architecture(trial.arch)
    machine = Machine(
        image=image,
        architecture=guest,
        firmware=firmware,
        accelerator=trial.accelerator or boot.accelerator(guest),
        memory=trial.memory,
        medium=medium,
        picture=trial.keep / f"{mode}.png" if trial.keep else None,
    )
    outcome = boot.boot(machine, Watch(expected=expected), trial.timeout, _ignore)
    kept = _kept(mode, trial, outcome)
    lost = LOST in outcome.console
    return Result(
        mode=mode,
        passed=outcome.end is End.FOUND and not lost,
        reason=f"the kernel did not read all of the initrd: {LOST}" if lost else outcome.reason,
        seconds=outcome.seconds,
        files=kept,
    )


def _kept(mode: str, trial: Trial, outcome: Outcome) -> tuple[str, ...]:
    if trial.keep is None:
        return ()
    console = trial.keep / f"{mode}.txt"
    console.write_text(outcome.console, errors="replace")
    picture = trial.keep / f"{mode}.png"
    return (str(console), *([str(picture)] if picture.exists() else []))


def _ignore(piece: bytes) -> None:
    del piece

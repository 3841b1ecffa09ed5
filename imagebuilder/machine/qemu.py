"""The command line that makes qemu the machine that was asked for."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

from imagebuilder.machine.model import (
    Accelerator,
    Architecture,
    Drive,
    Firmware,
    Machine,
    Medium,
    Parts,
    Rom,
)

SECURE = (
    "-global", "driver=cfi.pflash01,property=secure,value=on",
    "-global", "ICH9-LPC.disable_s3=1",  # OVMF with SMM hangs on waking from sleep
)  # fmt: skip


CD = ",media=cdrom"
DEVICES = {Medium.DISK: "virtio-blk-pci", Medium.CD: "ide-cd", Medium.USB: "usb-storage"}
CONTROLLERS = {Medium.USB: ("-device", "qemu-xhci")}


def argv(machine: Machine, parts: Parts) -> tuple[str, ...]:
    """The command that starts `machine` with its serial port on standard input and output."""
    return (
        machine.architecture.program,
        "-nodefaults",
        "-machine", _board(machine),
        "-accel", machine.accelerator.value,
        "-cpu", _cpu(machine),
        "-smp", str(_cpus(machine)),
        "-m", f"{machine.memory.up_to(2**20) // 2**20}M",
        "-no-reboot",
        "-vga", machine.architecture.display,
        "-display", "none",
        "-device", "virtio-rng-pci",
        "-netdev", "user,id=net0",
        "-device", "virtio-net-pci,netdev=net0,romfile=",  # nothing boots from the network
        *_flash(parts.rom, machine.firmware),
        *chain.from_iterable(_drive(number, drive) for number, drive in enumerate(parts.drives)),
        *_control(parts.control),
    )  # fmt: skip


def probe(guest: Architecture) -> tuple[str, ...]:
    """A command that starts an empty machine with KVM, and takes QMP on standard input."""
    return (
        guest.program,
        "-nodefaults",
        "-machine", guest.board,
        "-accel", Accelerator.KVM.value,
        "-cpu", "host",
        "-S",
        "-display", "none",
        "-qmp", "stdio",
    )  # fmt: skip


def on_pipe(command: tuple[str, ...]) -> tuple[str, ...]:
    """The same machine, to be followed by a program."""
    return *command, "-serial", "stdio", "-monitor", "none"


def on_terminal(command: tuple[str, ...]) -> tuple[str, ...]:
    """The same machine for a person: its console is the terminal, Ctrl-A X ends it."""
    return *command, "-serial", "mon:stdio"


def _board(machine: Machine) -> str:
    board = machine.architecture.board
    if machine.architecture.name != "x86_64":
        return board
    smm = ",smm=on" if machine.firmware is Firmware.SECURE_BOOT else ""
    return f"{board},graphics=off{smm}"  # without graphics SeaBIOS talks on the serial port


def _cpu(machine: Machine) -> str:
    return "host" if machine.accelerator is Accelerator.KVM else machine.architecture.cpu


def _cpus(machine: Machine) -> int:
    wanted = 2 if machine.accelerator is Accelerator.KVM else machine.architecture.cpus
    return min(len(os.sched_getaffinity(0)), wanted)


def _flash(rom: Rom | None, firmware: Firmware) -> tuple[str, ...]:
    if rom is None:
        return ()
    flash = (
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_escaped(rom.code)}",
        "-drive", f"if=pflash,format=raw,unit=1,file={_escaped(rom.variables)}",
    )  # fmt: skip
    return (*SECURE, *flash) if firmware is Firmware.SECURE_BOOT else flash


def _drive(number: int, drive: Drive) -> tuple[str, ...]:
    modes = {"snapshot": drive.snapshot, "readonly": drive.readonly}
    flags = "".join(f",{mode}=on" for mode, on in modes.items() if on)
    file = f"format={drive.format}{flags},file={_escaped(drive.file)}"
    return (
        *CONTROLLERS.get(drive.medium, ()),
        "-drive", f"if=none,id=disk{number}{CD * (drive.medium is Medium.CD)},{file}",
        "-device", f"{DEVICES[drive.medium]},drive=disk{number},bootindex={number}",
    )  # fmt: skip


def _control(socket: Path | None) -> tuple[str, ...]:
    return ("-qmp", f"unix:{_escaped(socket)},server=on,wait=off") if socket else ()


def _escaped(path: Path) -> str:
    return os.path.abspath(path).replace(",", ",,")  # ruff: ignore[os-path-abspath] - no resolving

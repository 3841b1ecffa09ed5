"""The command line for qemu."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.machine import qemu
from imagebuilder.machine.model import (
    Accelerator,
    Drive,
    Firmware,
    Machine,
    Medium,
    Parts,
    Rom,
    architecture,
)
from imagebuilder.sizes import Size

MACHINE = Machine(image=Path("/web.qcow2"))
DISK = Drive(file=Path("/web.qcow2"), format="qcow2", snapshot=True)
PARTS = Parts(drives=(DISK,))
ROM = Rom(code=Path("/code.fd"), variables=Path("/nvram"))


def after(flag: str, argv: tuple[str, ...]) -> list[str]:
    return [value for name, value in pairwise(argv) if name == flag]


def test_a_bios_machine_talks_on_its_serial_port_and_does_not_restart() -> None:
    argv = qemu.on_pipe(qemu.argv(MACHINE, PARTS))
    assert argv[0] == "qemu-system-x86_64"
    assert after("-machine", argv) == ["q35,graphics=off"]
    assert after("-serial", argv) == ["stdio"]
    assert after("-monitor", argv) == ["none"]
    assert after("-m", argv) == ["1024M"]
    assert "-no-reboot" in argv
    assert not any("pflash" in word for word in argv)


def test_the_first_drive_is_a_virtio_disk_that_is_not_written() -> None:
    argv = qemu.argv(MACHINE, PARTS)
    assert after("-drive", argv) == ["if=none,id=disk0,format=qcow2,snapshot=on,file=/web.qcow2"]
    assert "virtio-blk-pci,drive=disk0,bootindex=0" in argv


def test_a_seed_is_one_more_disk_that_cannot_be_written() -> None:
    seed = Drive(file=Path("/seed.img"), format="raw", readonly=True)
    argv = qemu.argv(MACHINE, Parts(drives=(DISK, seed)))
    assert after("-drive", argv)[1] == "if=none,id=disk1,format=raw,readonly=on,file=/seed.img"
    assert "virtio-blk-pci,drive=disk1,bootindex=1" in argv


@pytest.mark.parametrize(
    ("medium", "drive", "device"),
    [
        (Medium.CD, "if=none,id=disk0,media=cdrom,format=raw,readonly=on,file=/x.iso", "ide-cd"),
        (Medium.USB, "if=none,id=disk0,format=raw,readonly=on,file=/x.iso", "usb-storage"),
    ],
)
def test_an_image_may_be_a_cd_or_a_usb_disk(medium: Medium, drive: str, device: str) -> None:
    image = Drive(file=Path("/x.iso"), format="raw", readonly=True, medium=medium)
    argv = qemu.argv(MACHINE, Parts(drives=(image,)))
    assert after("-drive", argv) == [drive]
    assert f"{device},drive=disk0,bootindex=0" in argv
    assert ("qemu-xhci" in argv) == (medium is Medium.USB)


def test_commas_in_names_are_doubled() -> None:
    drive = Drive(file=Path("/a,b.raw"), format="raw")
    argv = qemu.argv(MACHINE, Parts(drives=(drive,)))
    assert after("-drive", argv)[0].endswith("file=/a,,b.raw")


def test_emulation_uses_threads_and_every_feature() -> None:
    argv = qemu.argv(MACHINE, PARTS)
    assert (after("-accel", argv), after("-cpu", argv)) == (["tcg,thread=multi"], ["max"])
    assert after("-smp", argv) == ["1"]


def test_kvm_gets_the_hosts_processor() -> None:
    argv = qemu.argv(replace(MACHINE, accelerator=Accelerator.KVM), PARTS)
    assert (after("-accel", argv), after("-cpu", argv)) == (["kvm"], ["host"])
    assert after("-smp", argv) == [str(min(2, len(os.sched_getaffinity(0))))]


def test_uefi_has_code_that_is_shared_and_variables_of_its_own() -> None:
    argv = qemu.argv(replace(MACHINE, firmware=Firmware.UEFI), replace(PARTS, rom=ROM))
    assert after("-drive", argv)[:2] == [
        "if=pflash,format=raw,unit=0,readonly=on,file=/code.fd",
        "if=pflash,format=raw,unit=1,file=/nvram",
    ]
    assert after("-global", argv) == []


def test_secure_boot_guards_the_variables_with_smm() -> None:
    argv = qemu.argv(replace(MACHINE, firmware=Firmware.SECURE_BOOT), replace(PARTS, rom=ROM))
    assert after("-machine", argv) == ["q35,graphics=off,smm=on"]
    assert "driver=cfi.pflash01,property=secure,value=on" in after("-global", argv)


def test_the_control_socket_is_made_by_qemu_that_waits_for_nobody() -> None:
    argv = qemu.argv(MACHINE, replace(PARTS, control=Path("/run/control")))
    assert after("-qmp", argv) == ["unix:/run/control,server=on,wait=off"]


def test_memory_is_whole_mebibytes() -> None:
    argv = qemu.argv(replace(MACHINE, memory=Size(2**29 + 1)), PARTS)
    assert after("-m", argv) == ["513M"]


def test_an_arm_machine_is_a_row_of_the_table() -> None:
    arm = replace(MACHINE, architecture=architecture("arm64"), firmware=Firmware.UEFI)
    argv = qemu.argv(arm, replace(PARTS, rom=ROM))
    assert argv[0] == "qemu-system-aarch64"
    assert after("-machine", argv) == ["virt"]


def test_a_person_gets_the_terminal() -> None:
    assert after("-serial", qemu.on_terminal(qemu.argv(MACHINE, PARTS))) == ["mon:stdio"]


def test_an_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="'vax' cannot be started") as caught:
        architecture("vax")
    assert caught.value.hint == "there are: aarch64, amd64, arm64, x86_64"

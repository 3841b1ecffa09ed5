"""Real machines with boot sectors of our own, which say a word on the serial port and halt."""

from __future__ import annotations

import argparse
import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from imagebuilder import process
from imagebuilder.cli import boot as verb
from imagebuilder.machine import firmware, seed
from imagebuilder.machine.errand import Errand
from imagebuilder.machine.model import Firmware
from imagebuilder.process import Command

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not process.find("qemu-system-x86_64"), reason="needs qemu-system-x86_64"),
]
NEEDS_OVMF = pytest.mark.skipif(
    not any(rom.code.exists() for rom in firmware.ROMS["x86_64", Firmware.UEFI]),
    reason="needs ovmf",
)
NEEDS_QEMU_IMG = pytest.mark.skipif(not process.find("qemu-img"), reason="needs qemu-img")
PORT = 0x3F8
WRITER = bytes((
    0xFA,                    # cli
    0x31, 0xC0, 0x8E, 0xD8,  # ds = 0
    0xBE, 0x16, 0x7C,        # si = text
    0xBA, 0xF8, 0x03,        # dx = COM1
    0xAC,                    # next: al = [si++]
    0x84, 0xC0,              # al == 0?
    0x74, 0x03,              # then to the end
    0xEE,                    # out dx, al
    0xEB, 0xF8,              # to next
    0xF4,                    # end: hlt
    0xEB, 0xFD,              # to end
))  # fmt: skip


def boot_sector(text: str) -> bytes:
    """A disk whose BIOS boot code writes `text` to COM1 and halts."""
    code = WRITER + text.encode() + b"\0"
    return code.ljust(510, b"\0") + b"\x55\xaa"


def image(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(boot_sector(text).ljust(2**20, b"\0"))
    return path


def boot(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args(["--arch", "x86_64", *map(str, words)]))


def test_what_the_boot_sector_says_is_found(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    disk = image(tmp_path, "\x1b[1mready\x1b[0m steady\r\ngo\r\n")
    outcome = tmp_path / "outcome.json"
    assert boot(disk, "--expect", "ready steady$", "--expect", "^go", "--json", outcome) == 0
    captured = capfdbinary.readouterr()
    assert b"\x1b[1mready\x1b[0m steady\r\ngo" in captured.out
    assert b"saw 'ready steady', 'go'" in captured.err
    assert json.loads(outcome.read_text())["matched"] == ["ready steady", "go"]


def test_what_does_not_come_is_a_timeout(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert boot(image(tmp_path, "hello"), "--timeout", "3") == 124
    assert b"'login:' did not come within 3 s" in capfdbinary.readouterr().err


def test_an_empty_disk_fails_at_once(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    disk = tmp_path / "empty.raw"
    disk.write_bytes(bytes(2**20))
    assert boot(disk, "--timeout", "60") == 1
    assert b"the BIOS found nothing to boot" in capfdbinary.readouterr().err


def test_a_panic_fails_and_its_trace_is_shown(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    disk = image(tmp_path, "Kernel panic - not syncing: VFS\r\nCall Trace:\r\n")
    assert boot(disk, "--timeout", "60") == 1
    captured = capfdbinary.readouterr()
    assert b"the kernel panicked: Kernel panic - not syncing: VFS" in captured.err
    assert b"Call Trace:" in captured.out


@NEEDS_OVMF
def test_uefi_reaches_its_shell_on_an_empty_disk(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    disk = tmp_path / "empty.raw"
    disk.write_bytes(bytes(2**20))
    assert boot(disk, "--firmware", "uefi", "--expect", "UEFI Interactive Shell") == 0
    assert b"BdsDxe" in capfdbinary.readouterr().out


@NEEDS_OVMF
def test_secure_boot_refuses_the_unsigned_shell(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    disk = tmp_path / "empty.raw"
    disk.write_bytes(bytes(2**20))
    assert boot(disk, "--secure-boot") == 1
    assert b"secure boot refused the boot loader" in capfdbinary.readouterr().err


@NEEDS_QEMU_IMG
def test_an_overlay_takes_the_writes_and_the_larger_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("imagebuilder.machine.boot.SHUTDOWN", timedelta(seconds=1))
    disk, overlay = image(tmp_path, "ready\r\n"), tmp_path / "kept.qcow2"
    words = (disk, "--expect", "ready", "--overlay", overlay, "--disk-size", "16MiB")
    assert [boot(*words), boot(*words)] == [0, 0]
    told = process.run(Command(("qemu-img", "info", "--output=json", str(overlay)))).output
    assert json.loads(told)["virtual-size"] == 16 * 2**20
    assert b"did not shut down" in capfdbinary.readouterr().err  # a boot sector knows no ACPI
    assert disk.read_bytes()[:512] == boot_sector("ready\r\n")


@pytest.mark.skipif(
    not (process.find("mkfs.vfat") and process.find("mcopy") and process.find("mdir")),
    reason="needs dosfstools and mtools",
)
def test_a_seed_is_a_filesystem_that_cloud_init_looks_for(tmp_path: Path) -> None:
    given, disk = tmp_path / "given", tmp_path / "seed.img"
    given.mkdir()
    (given / "user-data").write_text("#cloud-config\nhostname: web\n")
    errand = Errand("uname -r", "run-1")
    seed.make(seed.files(seed.load(given), errand, "i-1"), disk, process.run)
    environment = {"MTOOLS_SKIP_CHECK": "1"}
    listed = process.run(Command(("mdir", "-b", "-i", str(disk), "::"), env=environment)).output
    assert listed.split() == ["::/meta-data", "::/user-data"]
    read = process.run(Command(("mcopy", "-i", str(disk), "::user-data", "-"), env=environment))
    assert read.output.startswith("#cloud-config-archive\n")
    assert b"CIDATA" in disk.read_bytes()[:4096]


def test_the_seed_is_a_disk_of_the_machine(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    if not (process.find("mkfs.vfat") and process.find("mcopy")):
        pytest.skip("needs dosfstools and mtools")
    outcome = tmp_path / "outcome.json"
    disk = image(tmp_path, "ready\r\n")
    words = (disk, "--run", "true", "--expect", "ready", "--timeout", "3", "--json", outcome)
    assert boot(*words) == 124
    assert b"the command was never started" in capfdbinary.readouterr().err
    assert json.loads(outcome.read_text())["status"] is None


def test_bytes_of_the_boot_code_point_at_the_text() -> None:
    assert WRITER[6:8] == (0x7C00 + len(WRITER)).to_bytes(2, "little")
    assert shutil.which("qemu-system-x86_64", path=process.PATH)

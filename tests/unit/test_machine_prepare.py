"""What is made on the host before a machine starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imagebuilder.errors import ConfigError, ToolMissingError
from imagebuilder.machine import firmware
from imagebuilder.machine.model import Drive, Firmware, Machine, Rom
from imagebuilder.machine.prepare import image_format, prepare
from imagebuilder.process import Recorder
from imagebuilder.sizes import Size


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "web.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\3")
    return path


def described(image: Path, size: int, *, backing: str = "") -> Recorder:
    told = {"virtual-size": size, "filename": str(image)}
    return Recorder(**{"qemu-img": json.dumps(told | {"full-backing-filename": backing})})


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"QFI\xfb\0\0", "qcow2"),
        (b"KDMV\1\0", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vpc"),
        (b"\xebc\x90", "raw"),
        (b"", "raw"),
    ],
)
def test_the_first_bytes_tell_the_format(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "disk").write_bytes(start)
    assert image_format(tmp_path / "disk") == kind


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.raw: cannot be read: No such file"):
        image_format(tmp_path / "gone.raw")


def test_a_plain_start_uses_the_image_itself_and_runs_nothing(image: Path, tmp_path: Path) -> None:
    run = Recorder()
    parts = prepare(Machine(image=image), tmp_path, run)
    assert parts.drives == (Drive(file=image, format="qcow2", snapshot=True),)
    assert (parts.rom, run.commands) == (None, [])


def test_an_image_that_is_to_be_written_has_no_snapshot(image: Path, tmp_path: Path) -> None:
    parts = prepare(Machine(image=image, snapshot=False), tmp_path, Recorder())
    assert not parts.drives[0].snapshot


def test_more_disks_come_after_the_image_and_the_seed_last(image: Path, tmp_path: Path) -> None:
    more, seed = tmp_path / "more.raw", tmp_path / "seed.img"
    more.touch()
    machine = Machine(image=image, disks=(more,), seed=seed)
    assert prepare(machine, tmp_path, Recorder()).drives[1:] == (
        Drive(file=more, format="raw", snapshot=True),
        Drive(file=seed, format="raw", readonly=True),
    )


def test_a_larger_disk_is_an_overlay_that_goes_away(image: Path, tmp_path: Path) -> None:
    run = described(image, 2**30)
    parts = prepare(Machine(image=image, disk_size=Size(2**31)), tmp_path / "scratch", run)
    overlay = tmp_path / "scratch/disk.qcow2"
    assert parts.drives == (Drive(file=overlay, format="qcow2"),)
    assert run.commands[-1].argv == (
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
        "-b", str(image), str(overlay), str(2**31),
    )  # fmt: skip


def test_a_disk_smaller_than_the_image_is_refused(image: Path, tmp_path: Path) -> None:
    machine = Machine(image=image, disk_size=Size(2**29))
    with pytest.raises(ConfigError, match="a disk of 512 MiB cannot hold the image") as caught:
        prepare(machine, tmp_path, described(image, 2**30))
    assert caught.value.where == str(image)
    assert "larger" in caught.value.hint


def test_a_kept_overlay_is_made_once(image: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "kept.qcow2"
    machine = Machine(image=image, overlay=overlay)
    run = described(overlay, 2**30, backing=str(image))
    prepare(machine, tmp_path, run)
    overlay.touch()
    assert prepare(machine, tmp_path, run).drives == (Drive(file=overlay, format="qcow2"),)
    assert [command.argv[1] for command in run.commands] == ["create", "info"]


@pytest.mark.parametrize("backing", ["", "/gone.qcow2"])
def test_an_overlay_of_something_else_is_refused(image: Path, tmp_path: Path, backing: str) -> None:
    overlay = tmp_path / "kept.qcow2"
    overlay.touch()
    with pytest.raises(ConfigError, match="is an overlay of") as caught:
        prepare(
            Machine(image=image, overlay=overlay),
            tmp_path,
            described(overlay, 2**30, backing=backing),
        )
    assert caught.value.where == str(overlay)
    assert "remove it" in caught.value.hint


def test_an_overlay_keeps_its_size(image: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "kept.qcow2"
    overlay.touch()
    machine = Machine(image=image, overlay=overlay, disk_size=Size(2**31))
    with pytest.raises(ConfigError, match="has a disk of 1 GiB already, not of 2 GiB"):
        prepare(machine, tmp_path, described(overlay, 2**30, backing=str(image)))


def test_an_overlays_uefi_variables_are_kept(tmp_path: Path) -> None:
    template, kept = tmp_path / "template", tmp_path / "kept.nvram"
    template.write_text("fresh")
    rom = Rom(code=tmp_path / "code", variables=template)
    assert firmware.own(rom, kept).variables == kept
    kept.write_text("with boot entries")
    firmware.own(rom, kept)
    assert kept.read_text() == "with boot entries"


def test_firmware_must_be_there_whole(tmp_path: Path) -> None:
    code = tmp_path / "usr/share/OVMF/OVMF_CODE_4M.fd"
    code.parent.mkdir(parents=True)
    code.touch()
    with pytest.raises(ToolMissingError, match="no firmware to start x86_64 by uefi") as caught:
        firmware.find("x86_64", Firmware.UEFI, root=tmp_path)
    assert "'ovmf'" in caught.value.hint
    (code.parent / "OVMF_VARS_4M.fd").touch()
    assert firmware.find("x86_64", Firmware.UEFI, root=tmp_path).code == code


def test_every_machine_that_can_start_by_uefi_has_firmware_in_the_table() -> None:
    from imagebuilder.machine.model import ARCHITECTURES

    wanted = {(a.name, f) for a in ARCHITECTURES.values() for f in a.firmwares}
    assert wanted - {("x86_64", Firmware.BIOS)} == set(firmware.ROMS)


def test_machines_that_keep_something_are_lasting(image: Path) -> None:
    machine = Machine(image=image)
    assert not machine.lasting
    assert not replace(machine, disk_size=Size(2**40)).lasting
    assert replace(machine, overlay=Path("kept")).lasting
    assert replace(machine, snapshot=False).lasting

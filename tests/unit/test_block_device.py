"""`dib-block-device`: what it reads, answers and refuses, without making a disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from imagebuilder import schema
from imagebuilder.build import disk_state
from imagebuilder.cli import block_device
from imagebuilder.disk.model import Defaults

CONFIG = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: boot
        size: 20MiB
        mkfs: {type: ext4, mount: {mount_point: /boot, fstab: {options: ro}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {}}}}
"""
STATE = {
    "blockdev": {
        "image0": {"device": "/dev/loop7", "image": "/tmp/image0.raw"},
        "root": {"device": "/dev/loop8"},
    }
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    given = {
        "config": f"{tmp_path}/config.yaml",
        "image-dir": str(tmp_path),
        "root-fs-type": "xfs",
        "root-label": None,
        "mount-base": f"{tmp_path}/mnt",
        "build-dir": str(tmp_path),
        "image-size": "200MiB",
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setenv("DIB_BLOCK_DEVICE_PARAMS_YAML", f"{tmp_path}/params.yaml")
    return tmp_path


def made(place: Path, **more: object) -> None:
    directory = place / "states" / "block-device"
    directory.mkdir(parents=True)
    (directory / "state.json").write_text(json.dumps({**STATE, **more}))


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("root-label", "img-rootfs\n"),
        ("root-fstype", "xfs\n"),
        ("boot-label", "mkfs_boot\n"),
        ("mount-points", "/boot|/\n"),
    ],
)
def test_the_configuration_can_be_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str], symbol: str, expected: str
) -> None:
    assert place.is_dir()
    assert block_device.main(["getval", symbol]) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("image-path", "/tmp/image0.raw\n"),
        ("image-block-device", "/dev/loop7\n"),
        ("image-block-devices", " [image0]=/dev/loop7  [root]=/dev/loop8 \n"),
    ],
)
def test_what_was_made_can_be_asked_for_then(
    place: Path, capsys: pytest.CaptureFixture[str], symbol: str, expected: str
) -> None:
    assert block_device.main(["getval", symbol]) == 1
    assert "State dump not found" in capsys.readouterr().err
    made(place)
    assert block_device.main(["getval", symbol]) == 0
    assert capsys.readouterr().out == expected


def test_an_unknown_symbol_is_an_error_that_names_the_known(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(place)
    assert block_device.main(["getval", "nonsense"]) == 1
    message = capsys.readouterr().err
    assert "Invalid symbol [nonsense] for getval" in message
    assert "image-block-devices" in message


def test_init_writes_the_configuration_in_graph_notation(place: Path) -> None:
    assert block_device.main(["--params", f"{place}/params.yaml", "init"]) == 0
    written = json.loads((place / "states/block-device/config.json").read_text())
    assert {
        "mount": {"mount_point": "/boot", "base": "mkfs_boot", "name": "mount_mkfs_boot"}
    } in written
    table = next(entry["partitioning"] for entry in written if "partitioning" in entry)
    assert table["partitions"] == [
        {"name": "boot", "size": "20MiB", "base": "image0"},
        {"name": "root", "size": "100%", "base": "image0"},
    ]
    root = next(e["mkfs"] for e in written if e.get("mkfs", {}).get("name") == "mkfs_root")
    assert (root["type"], root["label"], root["base"]) == ("xfs", "img-rootfs", "root")


def test_a_wrong_configuration_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "config.yaml").write_text("- mkfz: {}\n")
    assert block_device.main(["init"]) == 1
    assert f"{place}/config.yaml:1:3: Config entry is not a plugin" in capsys.readouterr().err


def test_umount_without_a_disk_is_nothing_to_do(place: Path) -> None:
    assert block_device.main(["umount"]) == 0
    assert not (place / "states").exists()


@pytest.mark.parametrize("command", ["cleanup", "delete", "writefstab"])
def test_others_without_a_disk_are_errors(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert block_device.main([command]) == 1
    assert f"{place}/states/block-device/state.json: State dump" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["create", "umount", "cleanup", "delete"])
def test_the_disk_of_a_running_build_is_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    made(place, owner="build")
    assert block_device.main([command]) == 1
    assert "the disk belongs to the build that is running" in capsys.readouterr().err


def test_fstab_goes_into_the_tree(place: Path) -> None:
    made(place)
    (place / "built").mkdir()
    assert block_device.main(["writefstab"]) == 0
    text = (place / "built/etc/fstab").read_text()
    assert text == "LABEL=img-rootfs / xfs defaults 0 2\nLABEL=mkfs_boot /boot ext4 ro 0 2\n"
    assert (place / "states/block-device/fstab").read_text() == text


def test_parameters_have_to_be_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIB_BLOCK_DEVICE_PARAMS_YAML", raising=False)
    assert block_device.main(["init"]) == 1
    assert "DIB_BLOCK_DEVICE_PARAMS_YAML or --params not set" in capsys.readouterr().err


def test_parameters_without_a_directory_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").write_text("config: x\n")
    assert block_device.main(["--params", f"{tmp_path}/p", "init"]) == 1
    assert "'build-dir' is a required property" in capsys.readouterr().err


def test_what_a_build_announces_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "block-device" / "params.yaml"
    spelled = CONFIG.replace("size: 20MiB", "size: 20MiB\n        type: 0700")
    document = schema.parse(spelled, where="an element")
    disk_state.announce(file, document, Defaults(image="web", root_label="mine"), tmp_path / "mnt")
    assert block_device.main(["--params", str(file), "getval", "root-label"]) == 0
    assert capsys.readouterr().out == "mine\n"
    assert "type: 0700\n" in (tmp_path / "block-device" / "config.yaml").read_text()

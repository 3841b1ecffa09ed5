"""`dib-block-device` making disks of its own, in a mount namespace that nobody else copies."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagebuilder.errors import CommandError
from imagebuilder.filesystems import mounted
from imagebuilder.process import Command, find
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts"),
    pytest.mark.skipif(bool(mounted.obstacle("ext4")), reason=mounted.obstacle("ext4") or "loops"),
    pytest.mark.skipif(find("mke2fs") is None, reason="needs e2fsprogs"),
]
ROOT = Path(__file__).parents[2]
PROGRAM = "from imagebuilder.cli.start import dib_block_device; dib_block_device()"
CONFIG = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: boot
        size: 20MiB
        mkfs: {type: ext4, mount: {mount_point: /boot, fstab: {options: ro}}}
      - {name: pvpart, size: 100%}
- lvm:
    name: lvm
    pvs: [{name: pv, base: pvpart}]
    vgs: [{name: vg, base: [pv]}]
    lvs: [{name: lv_root, base: vg, extents: 100%FREE}]
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {}}}
"""
Ask = Callable[..., str]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Runs the program; everything that it mounts is gone with the test."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    given = {
        "config": f"{tmp_path}/config.yaml",
        "image-dir": str(tmp_path),
        "mount-base": f"{tmp_path}/mnt",
        "build-dir": str(tmp_path),
        "image-size": "200MiB",
    }
    (tmp_path / "params.yaml").write_text(json.dumps(given))
    environment = {
        "PYTHONPATH": str(ROOT),
        "DIB_BLOCK_DEVICE_PARAMS_YAML": f"{tmp_path}/params.yaml",
    }
    with enter(Sandbox(network=False)) as inside:
        inside(Command(("mount", "--make-rprivate", "/")))

        def run(*words: str, program: tuple[str, ...] = (sys.executable, "-c", PROGRAM)) -> str:
            return inside(Command((*program, *words), env=environment)).output

        yield run


def attached(directory: Path) -> list[Path]:
    return list(loops.of_files_below(directory))


def test_a_disk_is_made_mounted_and_taken_down(ask: Ask, tmp_path: Path) -> None:
    ask("init")
    ask("create")
    point = tmp_path / "mnt"
    mounts = ask(program=("cat", "/proc/mounts"))
    device = ask("getval", "image-block-device").strip()
    assert len(attached(tmp_path)) == 4
    assert Path(device) in attached(tmp_path)
    assert f" {point} ext4 " in mounts
    assert f" {point}/boot ext4 " in mounts
    ask("-c", f"echo kept >{point}/boot/file", program=("sh",))
    ask("writefstab")
    ask("umount")
    assert f" {point} " not in ask(program=("cat", "/proc/mounts"))
    assert attached(tmp_path) == []
    ask("umount")
    image = tmp_path / "image0.raw"
    assert ask("getval", "image-path").strip() == str(image)
    words = ("-R", "cat /file", f"{image}?offset={1 << 20}")
    assert "kept" in ask(*words, program=("debugfs",))
    ask("cleanup")
    assert image.exists()
    assert not (tmp_path / "states" / "block-device").exists()


def test_delete_removes_everything(ask: Ask, tmp_path: Path) -> None:
    ask("create")
    ask("delete")
    assert attached(tmp_path) == []
    assert not (tmp_path / "image0.raw").exists()
    assert not (tmp_path / "states" / "block-device").exists()


def test_create_twice_is_refused(ask: Ask, tmp_path: Path) -> None:
    ask("create")
    with pytest.raises(CommandError, match="the disk is there already"):
        ask("create")
    assert len(attached(tmp_path)) == 4
    ask("delete")


def test_what_cannot_be_made_leaves_nothing(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "mnt").write_text("not a directory")
    with pytest.raises(CommandError, match=r"error: .*/mnt: cannot be mounted: File exists"):
        ask("create")
    assert attached(tmp_path) == []
    assert not (tmp_path / "image0.raw").exists()
    assert not (tmp_path / "states" / "block-device" / "state.json").exists()


def test_a_disk_in_use_is_not_taken_down(ask: Ask, tmp_path: Path) -> None:
    ask("create")
    ask(f"{tmp_path}/mnt/inner", program=("mkdir",))
    ask("-t", "tmpfs", "tmpfs", f"{tmp_path}/mnt/inner", program=("mount",))
    with pytest.raises(CommandError, match="/ is still in use"):
        ask("umount")
    ask(f"{tmp_path}/mnt/inner", program=("umount",))
    ask("delete")
    assert attached(tmp_path) == []

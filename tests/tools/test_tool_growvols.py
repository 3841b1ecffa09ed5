"""What growvols decides, from what stand-ins of the machine's tools tell it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "elements/growvols/static/usr/local/sbin/growvols"
GIB = 2**30
EXTENT = 4 * 2**20


def block(kname: str, parent: str, kind: str, **more: str) -> Mapping[str, str | None]:
    empty = dict.fromkeys(("label", "fstype", "mountpoint"))
    return {"kname": kname, "name": kname, "pkname": parent, "type": kind, **empty, **more}


def disk(name: str, fstype: str = "xfs", joint: str = "") -> list[Mapping[str, str | None]]:
    """A disk with an ESP, a physical volume, and three logical ones."""
    part = f"{name}{joint}2"
    return [
        block(name, "", "disk"),
        block(f"{name}{joint}1", name, "part", fstype="vfat", mountpoint="/boot/efi"),
        block(part, name, "part", fstype="LVM2_member"),
        block("dm-0", part, "lvm", name="vg-lv_root", fstype=fstype, mountpoint="/"),
        block("dm-1", part, "lvm", name="vg-lv_var", fstype=fstype, mountpoint="/var"),
        block("dm-2", part, "lvm", name="vg-lv_home", fstype=fstype, label="fs_home"),
    ]


@dataclass
class Machine:
    """A directory with stand-ins, each printing a file, and noting its call."""

    directory: Path
    devices: list[Mapping[str, str | None]] = field(default_factory=lambda: disk("sda"))
    free_gib: float = 10
    groups: str = "  vg\n"
    volumes: str = ""
    verify: str = "No problems found."

    def run(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        first = 1000
        answers = {
            "lsblk": json.dumps({"blockdevices": self.devices}),
            "vgs": self.groups,
            "lvs": self.volumes,
            "sgdisk": f"{self.verify}\n",
        }
        for name in ("lsblk", "vgs", "lvs", "sgdisk", "partprobe", "pvcreate", "vgextend",
                     "lvextend", "xfs_growfs", "resize2fs"):  # fmt: skip
            (self.directory / f"{name}.out").write_text(answers.get(name, ""))
            free = f"{first}\\n{first + int(self.free_gib * GIB) // 512}"
            script = f'echo "{name} $*" >>{self.directory}/called\n'
            if name == "sgdisk":
                script += f'case "$1" in --first*) printf "{free}\\n"; exit ;; --verify) ;;\n'
                script += "*) exit ;; esac\n"
            (self.directory / name).write_text(
                f"#!/bin/sh\n{script}cat {self.directory}/{name}.out\n"
            )
            (self.directory / name).chmod(0o755)
        block_size = self.directory / "logical_block_size"
        block_size.write_text("512\n")
        text = PROGRAM.read_text().replace(
            """f"/sys/block/{disk['kname']}/queue/logical_block_size\"""", f'"{block_size}"'
        )
        assert str(block_size) in text
        (self.directory / "growvols").write_text(text)
        return subprocess.run(
            [sys.executable, str(self.directory / "growvols"), *words],
            env={"PATH": f"{self.directory}:{os.environ['PATH']}"},
            stdin=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def called(self) -> list[str]:
        return (self.directory / "called").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def grown(output: str) -> dict[str, int]:
    """Bytes by volume, in the shown commands."""
    rows = (line.split() for line in output.splitlines() if line.startswith("lvextend --size"))
    return {row[3].rsplit("/", 1)[1]: int(row[2].strip("+B")) for row in rows}


def test_the_wishes_come_first_and_root_gets_the_rest(machine: Machine) -> None:
    done = machine.run("--noop", "/var=50%", "fs_home=1GiB")
    assert done.returncode == 0, done.stderr
    sizes = grown(done.stdout)
    half, one = 5 * GIB // EXTENT * EXTENT, GIB
    assert sizes == {
        "vg-lv_var": half - 2 * EXTENT,
        "vg-lv_home": one - 2 * EXTENT,
        "vg-lv_root": 10 * GIB - half - one - 2 * EXTENT,
    }
    shown = done.stdout.splitlines()
    assert shown[0].startswith("sgdisk --new=3:1000:")
    assert shown[2] == "pvcreate -ff --yes /dev/sda3"
    assert shown[3] == "vgextend vg /dev/sda3"
    assert shown[-3:] == [
        "xfs_growfs /dev/mapper/vg-lv_var", "xfs_growfs /dev/mapper/vg-lv_home",
        "xfs_growfs /dev/mapper/vg-lv_root",
    ]  # fmt: skip
    assert not [call for call in machine.called if call.startswith(("pvcreate", "lvextend"))]


def test_what_is_asked_for_too_much_is_cut(machine: Machine) -> None:
    done = machine.run("--noop", "/var=80%", "fs_home=80%")
    sizes = grown(done.stdout)
    assert sizes["vg-lv_home"] < sizes["vg-lv_var"]
    assert "vg-lv_root" not in sizes


def test_partitions_of_nvme_and_ext4_are_known(machine: Machine) -> None:
    machine.devices = disk("nvme0n1", "ext4", "p")
    shown = machine.run("--noop").stdout
    assert "pvcreate -ff --yes /dev/nvme0n1p3\n" in shown
    assert "resize2fs /dev/mapper/vg-lv_root\n" in shown


def test_a_thin_pool_grows_with_its_metadata(machine: Machine) -> None:
    machine.volumes = (
        "  pool|/dev/mapper/vg-pool|twi-aotz--|\n  lv_root|/dev/mapper/vg-lv_root|Vwi-aotz--|pool\n"
    )
    shown = machine.run("--noop").stdout
    room = (8 * GIB // EXTENT * EXTENT) - EXTENT
    assert f"lvextend --poolmetadatasize +{GIB}B vg/pool\n" in shown
    assert f"lvextend -L+{room - 2 * EXTENT}B /dev/mapper/vg-pool /dev/sda3\n" in shown
    assert "/dev/mapper/vg-lv_root /dev/sda3" not in shown


def test_the_commands_are_run_after_a_yes(machine: Machine) -> None:
    done = machine.run("--yes", "/=100%")
    assert done.returncode == 0, done.stderr
    assert [call for call in machine.called if call.startswith("pvcreate")]
    assert machine.called[-1] == "xfs_growfs /dev/mapper/vg-lv_root"


def test_the_end_of_the_partition_table_is_moved_first(machine: Machine) -> None:
    machine.verify = "it doesn't reside\nat the end of the disk"
    assert machine.run("--noop").returncode == 0
    calls = machine.called
    assert calls.index("sgdisk --move-second-header /dev/sda") < calls.index(
        "vgs --noheadings --options vg_name"
    )


@pytest.mark.parametrize(("words", "status"), [((), 0), (("--exit-on-no-grow",), 2)])
def test_without_room_nothing_is_done(
    machine: Machine, words: tuple[str, ...], status: int
) -> None:
    machine.free_gib = 0.5
    done = machine.run("--yes", *words)
    assert done.returncode == status
    assert "less than 1 GiB" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("/var=80",), "'/var=80' is not like"),
        (("/no=80%",), "/no is no logical volume"),
        (("/boot/efi=80%",), "/boot/efi is no logical volume"),
        (("--device", "sdz"), "there is no disk sdz"),
        (("--group", "other"), "there is no volume group other; there are: vg"),
        (("/var=80%",), "nobody is there to ask; --yes answers"),
    ],
)
def test_what_cannot_be_done_is_said(machine: Machine, words: tuple[str, ...], said: str) -> None:
    done = machine.run(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_two_groups_have_to_be_told_apart(machine: Machine) -> None:
    machine.groups = "  vg\n  data\n"
    assert "which volume group?" in machine.run("--noop").stderr
    assert machine.run("--noop", "--group", "vg").returncode == 0


def test_a_command_that_fails_is_named(machine: Machine) -> None:
    assert machine.run("--noop").returncode == 0
    (machine.directory / "vgs").write_text("#!/bin/sh\necho no locks >&2\nexit 5\n")
    done = subprocess.run(
        [sys.executable, str(machine.directory / "growvols"), "--noop"],
        env={"PATH": f"{machine.directory}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "vgs --noheadings --options vg_name failed: no locks" in done.stderr

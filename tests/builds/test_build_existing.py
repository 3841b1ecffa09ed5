"""Builds that change a disk which is there already: what they keep, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from signed_archive import run

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
    pytest.mark.skipif(not shutil.which("sfdisk"), reason="needs sfdisk"),
]
MIB = 1 << 20
UUID = "12345678-1111-2222-3333-444444444444"
YOUNG = 2_000_000_000  # after any SOURCE_DATE_EPOCH


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with an MBR, something in its boot code, and a small system on ext4."""
    place = tmp_path_factory.mktemp("disk")
    tree = place / "tree"
    tree.mkdir()
    program = Path(__file__).parents[1] / "elements/tiny/root.d/10-tiny"
    run("bash", str(program), TARGET_ROOT=str(tree))
    (tree / "etc/os-release").write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    (tree / "etc/fstab").write_text(f"UUID={UUID} / ext4 defaults 0 1\n")
    (tree / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    (tree / "usr/local/bin").mkdir(parents=True)
    (tree / "etc/kept").write_text("kept")
    os.utime(tree / "etc/kept", (YOUNG, YOUNG))
    raw = place / "disk.raw"
    raw.write_bytes(b"boot code")
    os.truncate(raw, 200 * MIB)
    table = "label: dos\nlabel-id: 0x11223344\nstart=2048, type=83, bootable\n"
    subprocess.run(["sfdisk", "-q", raw], input=table.encode(), check=True)
    with raw.open("r+b") as file:
        file.write(b"boot code")
    options = ["-q", "-F", "-t", "ext4", "-L", "mine", "-U", UUID, "-d", str(tree)]
    run("mke2fs", *options, "-E", f"offset={MIB}", str(raw), f"{199 << 10}k")
    return raw


def build(
    workshop: Workshop, disk: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    stand_in = "#!/bin/bash\nexit 0\n"
    files = {"element-deps": "install-bin\n", "bin/install-packages": stand_in}
    workshop.element("dpkg", files)
    given = {"DIB_BASE_IMAGE": str(disk), "OVERWRITE_OLD_IMAGE": "1", **variables}
    return workshop.create("-n", "-o", "out", "-t", "raw", "existing-image", *words, **given)


def read(raw: Path, *paths: str) -> list[str]:
    """The content of files in the disk's filesystem."""
    place = f"{raw}?offset={MIB}"
    return [run("debugfs", "-R", f"cat {path}", place) for path in paths]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def loops(directory: Path) -> list[str]:
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [name for file in files if (name := file.read_text().strip()).startswith(str(directory))]


def test_hooks_change_the_disk_and_the_rest_of_it_stays(workshop: Workshop, disk: Path) -> None:
    workshop.element(
        "changes",
        {
            "install.d/50-change": (
                "echo new > /etc/new; rm /etc/group\n"
                'echo "$DISTRO_NAME $DIB_RELEASE $DIB_ROOT_LABEL" > /etc/told\n'
                f"readlink -f /dev/disk/by-uuid/{UUID} > /etc/device\n"
            ),
            "finalise.d/50-see": (
                'test -b "$IMAGE_BLOCK_DEVICE"\necho "$IMAGE_BLOCK_DEVICES" > /etc/devices\n'
            ),
            "cleanup.d/50-outside": 'test -f "$TARGET_ROOT/etc/new"\n',
        },
    )
    before = digest(disk)
    done = build(workshop, disk, "changes")
    assert done.returncode == 0, done.stdout
    assert digest(disk) == before
    out = workshop.directory / "out.raw"
    assert out.stat().st_size == disk.stat().st_size
    with disk.open("rb") as one, out.open("rb") as other:
        assert one.read(MIB) == other.read(MIB)
    new, told, device, devices, resolver, fstab = read(
        out,
        "/etc/new",
        "/etc/told",
        "/etc/device",
        "/etc/devices",
        "/etc/resolv.conf",
        "/etc/fstab",
    )
    assert (new, told) == ("new\n", "ubuntu noble mine\n")
    assert device.startswith("/dev/loop")
    assert f"[part1]={device.strip()}" in devices
    assert resolver == "nameserver 192.0.2.1\n"
    assert fstab == f"UUID={UUID} / ext4 defaults 0 1\n"
    run("e2fsck", "-fn", f"{out}?offset={MIB}")
    about = run("debugfs", "-R", "stat /etc/kept", f"{out}?offset={MIB}")
    assert f"mtime: 0x{YOUNG:08x}" in about
    shown = run("dumpe2fs", "-h", f"{out}?offset={MIB}")
    assert UUID in shown
    assert str(workshop.directory) not in shown
    assert not loops(workshop.directory)


def test_the_caller_knows_the_system_better(workshop: Workshop, disk: Path) -> None:
    workshop.element("tells", {"install.d/50-tell": 'echo "$DISTRO_NAME" > /etc/told\n'})
    done = build(workshop, disk, "tells", "--image-size", "0.5", DISTRO_NAME="debian")
    assert done.returncode == 0, done.stdout
    out = workshop.directory / "out.raw"
    assert read(out, "/etc/told") == ["debian\n"]
    assert out.stat().st_size == 512 * MIB
    sectors = json.loads(run("sfdisk", "--json", str(out)))["partitiontable"]
    assert sectors["id"] == "0x11223344"
    assert sectors["partitions"][0]["size"] == 511 * MIB // 512
    run("e2fsck", "-fn", f"{out}?offset={MIB}")


@pytest.mark.parametrize(
    ("words", "variables", "line"),
    [
        (("vm",), {}, "element block-device-mbr brings a layout"),
        (("bootloader",), {}, "element bootloader installs a boot loader"),
        ((), {"DIB_BLOCK_DEVICE_CONFIG": "- local_loop: {name: x}"}, "asks for another layout"),
        ((), {"DIB_BASE_IMAGE": ""}, "DIB_BASE_IMAGE"),
        ((), {"DIB_BASE_IMAGE": "/nowhere"}, "there is no file '/nowhere'"),
        ((), {"DIB_BASE_IMAGE": "/etc/passwd"}, "neither a partition table nor a filesystem"),
        (("--image-size", "0.1"), {}, "the image is larger than that: 200 MiB"),
    ],
)
def test_what_cannot_be_is_refused(
    workshop: Workshop, disk: Path, words: tuple[str, ...], variables: dict[str, str], line: str
) -> None:
    done = build(workshop, disk, *words, **variables)
    assert done.returncode != 0
    assert line in done.stdout.rsplit("error: ", 1)[-1], done.stdout
    assert "Traceback" not in done.stdout
    assert not list(workshop.directory.glob("out.raw*"))
    assert not loops(workshop.directory)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cut.raw", "partition 1 ends at byte 209715200, the disk has 52428800"),
        ("bare.raw", "the system in it has no bash"),
        ("text.raw", "there is neither a partition table nor a filesystem"),
        ("locked.qcow2", "is encrypted"),
    ],
)
def test_a_refusal_names_the_file_that_was_given(
    workshop: Workshop, disk: Path, name: str, line: str
) -> None:
    given = workshop.directory / name
    if name == "cut.raw":
        shutil.copyfile(disk, given)
        os.truncate(given, 50 * MIB)
    elif name == "bare.raw":
        (workshop.directory / "tree/etc").mkdir(parents=True)
        (workshop.directory / "tree/etc/os-release").write_text("ID=debian\n")
        run("mke2fs", "-q", "-t", "ext4", "-d", str(workshop.directory / "tree"), str(given), "9M")
    elif name == "text.raw":
        given.write_text("some text\n" * 100)
    else:
        secret = ("--object", "secret,id=key,data=words")
        options = "encrypt.format=aes,encrypt.key-secret=key"  # luks would measure first
        run("qemu-img", "create", "-q", "-f", "qcow2", *secret, "-o", options, str(given), "9M")
    before = digest(given)
    done = build(workshop, given)
    assert done.returncode == 1, done.stdout
    assert f"error: {given}: {line}" in done.stdout
    assert digest(given) == before
    assert not loops(workshop.directory)


def test_a_plan_says_what_is_changed(workshop: Workshop, disk: Path) -> None:
    variables = {"DIB_BASE_IMAGE": str(disk)}
    done = workshop.imagebuilder("plan", "-n", "existing-image", **variables)
    assert done.returncode == 0, done.stderr
    assert f"disk       from {disk}\n  which is changed and keeps its layout" in done.stdout


def test_a_failed_hook_leaves_neither_image_nor_devices(workshop: Workshop, disk: Path) -> None:
    hook = 'mount --bind "$TARGET_ROOT/etc" "$TARGET_ROOT/tmp"; false\n'
    workshop.element("holds", {"cleanup.d/50-hold": hook})
    done = build(workshop, disk, "holds")
    assert done.returncode == 1
    assert not (workshop.directory / "out.raw").exists()
    assert not loops(workshop.directory)


def packed(disk: Path, directory: Path) -> Path:
    target = directory / "packed.qcow2"
    run("qemu-img", "convert", "-c", "-O", "qcow2", str(disk), str(target))
    return target


def has_daemon() -> bool:
    return Path("/dev/fuse").exists() and bool(shutil.which("qemu-storage-daemon"))


def daemons(directory: Path) -> list[str]:
    """Processes that were started for something in the directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_text().split("\0")
            if "storage-daemon" in words[0] and str(directory) in " ".join(words):
                found.append(words[0])
    return found


def test_a_compressed_disk_is_changed_without_being_unpacked(
    workshop: Workshop, disk: Path
) -> None:
    workshop.element("changes", {"install.d/50-change": "echo new > /etc/new\n"})
    given = packed(disk, workshop.directory)
    before = digest(given)
    done = build(workshop, given, "changes", "-t", "qcow2")
    assert done.returncode == 0, done.stdout
    assert digest(given) == before
    out = workshop.directory / "out.qcow2"
    run("qemu-img", "check", str(out))
    assert "compression type: zlib" in run("qemu-img", "info", str(out))
    raw = workshop.directory / "out.raw"
    run("qemu-img", "convert", "-O", "raw", str(out), str(raw))
    assert read(raw, "/etc/new", "/etc/kept") == ["new\n", "kept"]
    run("e2fsck", "-fn", f"{raw}?offset={MIB}")
    assert not loops(workshop.directory)
    assert not daemons(workshop.directory)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_nothing_is_left_of_a_killed_build(workshop: Workshop, disk: Path, kind: str) -> None:
    workshop.element("waits", {"install.d/50-wait": "echo waiting; sleep 600\n"})
    build(workshop, disk, DIB_BASE_IMAGE="/nowhere")  # writes the stand-in of dpkg
    given = disk if kind == "raw" else packed(disk, workshop.directory)
    with workshop.start(
        "-n", "-o", "out", "-t", kind, "existing-image", "waits", DIB_BASE_IMAGE=str(given)
    ) as program:
        assert program.stdout
        for line in program.stdout:
            if line.rstrip().endswith("| waiting"):
                break
        assert loops(workshop.directory)
        assert bool(daemons(workshop.directory)) == (kind == "qcow2" and has_daemon())
        program.kill()
    end = time.monotonic() + 10
    while (loops(workshop.directory) or daemons(workshop.directory)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not loops(workshop.directory)
    assert not daemons(workshop.directory)
    assert not list(workshop.directory.glob("*out.*"))

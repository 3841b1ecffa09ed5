"""Builds whose hooks see the disk, and builds onto LVM, xfs and btrfs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from imagebuilder.filesystems import mounted
from imagebuilder.process import Command, find, run
from imagebuilder.sandbox import loops
from imagebuilder.sandbox.model import Sandbox
from imagebuilder.sandbox.session import enter

if TYPE_CHECKING:
    from conftest import Workshop

MIB = 2**20
pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(bool(mounted.obstacle("ext4")), reason=mounted.obstacle("ext4") or "loops"),
]
DISK = """
- local_loop: {name: image0, size: 220MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: BSP, type: EF02, size: 1MiB}
      - name: ESP
        type: EF00
        size: 40MiB
        mkfs: {type: vfat, mount: {mount_point: /boot/efi}}
      - name: data
        size: 30MiB
        mkfs: {type: ext4, mount: {mount_point: /srv, fstab: {options: noatime}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
"""
NESTED = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: one, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /srv/web/static}}}
      - {name: two, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /srv}}}
      - {name: three, size: 20MiB, mkfs: {type: ext4, mount: {mount_point: /srv/web}}}
      - {name: root, size: 100%, mkfs: {mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
"""
LOOK = """
echo "device=$IMAGE_BLOCK_DEVICE"
eval "declare -A devices=( $IMAGE_BLOCK_DEVICES )"
for name in image0 BSP ESP data root; do echo "$name=${devices[$name]}"; done
"""


def built(workshop: Workshop, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    document = variables.pop("document", DISK)
    return workshop.create("-n", "-o", "out", *words, DIB_BLOCK_DEVICE_CONFIG=document, **variables)


def said(log: str, word: str) -> list[str]:
    return [line.split("=", 1)[1] for line in log.splitlines() if f"| {word}=" in line]


def in_image(image: Path, number: int, path: str) -> bytes:
    """A file on a partition's ext4; nothing if there is none."""
    table = json.loads(run(Command(("sfdisk", "--json", str(image)))).output)["partitiontable"]
    offset = table["partitions"][number - 1]["start"] * 512
    part = image.with_name("part")
    part.write_bytes(b"")
    words = ("debugfs", "-R", f"dump {path} {part}", f"{image}?offset={offset}")
    run(Command(words))
    run(Command(("e2fsck", "-fn", f"{image}?offset={offset}")))
    return part.read_bytes()


@pytest.mark.parametrize("words", [(), ("--attached",)])
def test_filesystems_on_filesystems_have_what_is_theirs(
    workshop: Workshop, words: tuple[str, ...]
) -> None:
    fill = (
        "mkdir -p /srv/web/static\n"
        "for at in / /srv /srv/web /srv/web/static; do echo $at >$at/whose; done"
    )
    workshop.element("fill", {"install.d/50-fill": fill})
    done = built(workshop, "-t", "raw", *words, "tiny", "fill", document=NESTED)
    assert done.returncode == 0, done.stdout
    image = workshop.directory / "out.raw"
    for number, place in enumerate(("/srv/web/static", "/srv", "/srv/web", "/"), 1):
        assert in_image(image, number, "/whose").decode().strip() == place
    assert in_image(image, 4, "/srv/whose") == b""
    assert in_image(image, 3, "/static/whose") == b""


def looks(workshop: Workshop) -> None:
    workshop.element("looks", {
        "pre-finalise.d/50-look": LOOK + (
            'echo "point=$(findmnt -no SOURCE "$TMP_MOUNT_PATH" | tail -1)"\n'
        ),
        "finalise.d/50-look": LOOK + (
            'read -r source rest </proc/mounts; echo "inside=$source"\n'
            "test -b $IMAGE_BLOCK_DEVICE\n"
            "echo from finalise >/finalised; echo data >/srv/found; echo efi >/boot/efi/file\n"
        ),
        "cleanup.d/50-mark": (
            "printf BOOTCODE | dd of=$IMAGE_BLOCK_DEVICE bs=1 conv=notrunc status=none\n"
            "echo cleaned >$TARGET_ROOT/cleaned\n"
        ),
    })  # fmt: skip


def test_hooks_that_name_the_device_see_and_change_the_disk(workshop: Workshop) -> None:
    looks(workshop)
    done = built(workshop, "-t", "raw,tar", "tiny", "looks")
    assert done.returncode == 0, done.stdout
    assert len({*said(done.stdout, "device")}) == 1
    assert said(done.stdout, "device") == said(done.stdout, "image0")
    root = said(done.stdout, "root")[0]
    assert said(done.stdout, "inside") == said(done.stdout, "point")[-1:] == [root]
    devices = [said(done.stdout, name)[0] for name in ("image0", "BSP", "ESP", "data", "root")]
    assert len({*devices}) == 5
    assert not any(re.fullmatch(r"/dev/loop\d", device) for device in devices)
    image = workshop.directory / "out.raw"
    assert in_image(image, 4, "/finalised") == b"from finalise\n"
    assert in_image(image, 4, "/cleaned") == b"cleaned\n"
    assert in_image(image, 3, "/found") == b"data\n"
    with image.open("rb") as file:
        assert file.read(8) == b"BOOTCODE"
    listed = run(Command(("mdir", "-b", "-i", f"{image}@@2M", "::"))).output
    assert listed.split() == ["::/file"]
    packed = run(Command(("tar", "--list", "-f", str(workshop.directory / "out.tar")))).output
    assert {"./finalised", "./srv/found", "./boot/efi/file"} <= {*packed.splitlines()}
    assert not list(workshop.scratch.iterdir())


def test_the_plan_says_why_the_disk_is_attached(workshop: Workshop) -> None:
    looks(workshop)
    workshop.element("wants", {"element.yaml": "attached-disk: true\n"})
    words = ("plan", "-n", "tiny")
    assert "attached" not in workshop.imagebuilder(*words).stdout
    shown = workshop.imagebuilder(*words, "looks").stdout
    assert "attached: pre-finalise.d/50-look of element looks names IMAGE_BLOCK_DEVICE" in shown
    assert "attached: element wants asks for it" in workshop.imagebuilder(*words, "wants").stdout
    assert "asked for (--attached)" in workshop.imagebuilder(*words, "--attached").stdout


def test_layers_made_without_the_disk_are_not_taken_for_it(workshop: Workshop) -> None:
    hook = 'read -r source point kind rest </proc/mounts; echo "mark=$kind"\n'
    workshop.element("mark", {"finalise.d/50-mark": hook})
    kinds = []
    for words in ((), ("--attached",), ()):
        done = built(workshop, "-t", "raw", "tiny", "mark", *words, IMAGEBUILDER_INCREMENTAL="1")
        assert done.returncode == 0, done.stdout
        kinds.append(said(done.stdout, "mark") or ["from the cache"])
    assert kinds[0] == ["overlay"]
    assert kinds[1] == ["ext4"]


def test_dib_block_device_answers_hooks(workshop: Workshop) -> None:
    program = "$TMP_HOOKS_PATH/imagebuilder/lib/dib-block-device.py"
    workshop.element("asks", {
        "pre-finalise.d/50-ask": (
            f"ask() {{ {sys.executable} " + program + ' "$@"; }\n'
            'for word in root-label root-fstype mount-points image-block-device; do\n'
            '    echo "$word=$(ask getval $word)"\n'
            "done\n"
            'test "$(ask getval image-block-device)" = "$IMAGE_BLOCK_DEVICE"\n'
            'test "$(ask getval image-path)" = "$TMP_IMAGE_DIR/image0.raw"\n'
            "ask delete && exit 1\n"
            "ask create && exit 1\n"
            "true\n"
        ),
    })  # fmt: skip
    done = built(workshop, "-t", "raw", "tiny", "asks")
    assert done.returncode == 0, done.stdout
    assert said(done.stdout, "root-label") == ["cloudimg-rootfs"]
    assert said(done.stdout, "mount-points") == ["/boot/efi|/srv|/"]
    assert done.stdout.count("the disk belongs to the build that is running") == 2


def test_a_killed_build_leaves_no_loop_device(workshop: Workshop) -> None:
    workshop.element(
        "slow", {"finalise.d/50-slow": "echo $IMAGE_BLOCK_DEVICE sleeping\nsleep 600\n"}
    )
    variables = {"DIB_BLOCK_DEVICE_CONFIG": DISK}
    with workshop.start("-n", "-o", "out", "tiny", "slow", **variables) as program:
        assert program.stdout
        assert any("sleeping" in line for line in program.stdout)
        (scratch,) = workshop.scratch.iterdir()
        assert len(list(loops.of_files_below(scratch))) == 5
        program.send_signal(signal.SIGKILL)
        program.wait()
    end = time.monotonic() + 5
    while list(loops.of_files_below(scratch)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list(loops.of_files_below(scratch))
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()


def test_the_next_build_takes_back_loop_devices_of_a_dead_one(workshop: Workshop) -> None:
    dead = workshop.scratch / "dib_build.dead"
    dead.mkdir()
    (dead / "image0.raw").write_bytes(bytes(MIB))
    device = loops.keep(loops.Part(file=dead / "image0.raw"))
    try:
        assert list(loops.of_files_below(dead)) == [device]
        assert built(workshop, "-t", "tar", "tiny").returncode == 0
        assert not list(loops.of_files_below(dead))
        assert not dead.exists()
    finally:
        if device in list(loops.of_files_below(dead)):
            loops.detach(device)


def test_a_failing_hook_on_the_disk_leaves_nothing(workshop: Workshop) -> None:
    workshop.element("fails", {"finalise.d/50-fail": "echo $IMAGE_BLOCK_DEVICE; exit 9\n"})
    done = built(workshop, "tiny", "fails")
    assert done.returncode == 9
    assert not list(workshop.scratch.iterdir())
    assert str(workshop.scratch) not in run(Command(("losetup", "--list"))).output


LVM = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: part, type: 8E00, size: 100%}]
- lvm:
    name: lvm
    pvs: [{name: pv, base: part, options: ["--force"]}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: lv_root, base: vg, extents: 80%VG}
      - {name: lv_srv, base: vg, size: 320MiB}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
- mkfs: {name: srv, base: lv_srv, type: TYPE, mount: {mount_point: /srv, fstab: {}}}
"""


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_build_onto_lvm_with_another_filesystem(workshop: Workshop, kind: str) -> None:
    if find(f"mkfs.{kind}") is None or mounted.obstacle(kind):
        pytest.skip(f"needs mkfs.{kind} and a kernel with {kind}")
    hook = "mkdir -p /srv/sub\necho content >/srv/sub/file\nln /srv/sub/file /srv/l\n"
    workshop.element("fills", {"install.d/50-fill": hook})
    document = LVM.replace("TYPE", kind)
    done = built(workshop, "-t", "raw", "tiny", "fills", document=document)
    assert done.returncode == 0, done.stdout
    image = workshop.directory / "out.raw"
    shown = json.loads((workshop.directory / "out.d" / "report.json").read_text())
    assert shown["status"] == 0
    offset, size = volume(image, "lv_srv")
    point = workshop.directory / "point"
    point.mkdir()
    part = loops.Part(file=image, offset=offset, size=size)
    with loops.attached(part) as device, enter(Sandbox(network=False)) as inside:
        inside(Command(("mount", "--make-rprivate", "/")))
        inside(Command(("mount", "-t", kind, str(device), str(point))))
        assert inside(Command(("cat", f"{point}/sub/file"))).output == "content\n"
        assert inside(Command(("stat", "-c", "%h", f"{point}/l"))).output == "2\n"
        inside(Command(("umount", str(point))))


def test_equal_builds_onto_lvm_are_equal_bytes(workshop: Workshop) -> None:
    """Mount points that no hook made are there too, and no time of day is in them."""
    document = LVM.replace("TYPE", "ext4").replace("/srv,", "/srv/made/for/it,")
    images = []
    for name in ("one", "two"):
        (workshop.directory / name).mkdir()
        words = ("-n", "--no-cache", "-t", "raw", "-o", f"{name}/out", "tiny")
        done = workshop.create(*words, DIB_BLOCK_DEVICE_CONFIG=document)
        assert done.returncode == 0, done.stdout
        images.append((workshop.directory / name / "out.raw").read_bytes())
        time.sleep(1.1)
    assert images[0] == images[1]


def volume(image: Path, name: str) -> tuple[int, int]:
    """Offset and size of a volume in one piece, from the metadata on the disk."""
    with image.open("rb") as file:
        text = os.pread(file.fileno(), MIB, MIB + 4096 + 512).split(b"\0")[0].decode()
    about = text[text.index(f"\n{name} {{") :]
    count = int(about.split("extent_count = ")[1].split()[0])
    start = int(about.split("stripes = [")[1].split("]")[0].split(",")[1])
    return 2 * MIB + start * 4 * MIB, count * 4 * MIB


@pytest.mark.parametrize(
    ("layout", "kinds", "sector"),
    [
        ("block-device-efi-4k", ["C12A7328", "21686148", "0FC63DAF"], 4096),
        ("block-device-efi-lvm", ["C12A7328", "21686148", "E6D6D379"], 512),
    ],
)
def test_a_layout_of_ours_is_on_the_disk(
    workshop: Workshop, layout: str, kinds: list[str], sector: int
) -> None:
    workshop.element("packages", {"bin/install-packages": "#!/bin/bash\necho installing $*\n"})
    words = ("tiny", "packages", layout, "--image-size", "3")
    done = workshop.create("-n", "-t", "raw", "-o", "out", *words)
    assert done.returncode == 0, done.stdout
    with (workshop.directory / "out.raw").open("rb") as disk:
        disk.seek(sector)
        assert disk.read(8) == b"EFI PART"
        disk.seek(2 * sector)
        types = [str(UUID(bytes_le=disk.read(128)[:16])) for _ in kinds]
    assert [each.split("-")[0].upper() for each in types] == kinds
